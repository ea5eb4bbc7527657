"""The configuration: every key with its type, default, bounds and description, in one place.

config = load(raw)                                  # a plain dict, complete and checked; UserError otherwise
python -m regime_w.config.schema > config.schema.json       # the JSON schema (editors, tests)
"""

import difflib
import json
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from regime_w.method.rewards import check_weights
from regime_w.runtime.errors import UserError, run

NAME = r"^[a-z0-9][a-z0-9_-]{0,63}$"
MOST_SHARDS = 10_000  # of a round: each is a job
SHOWN = 8  # problems that one message names
Count = Annotated[int, Field(ge=1)]
Shape = Literal["abel", "smollm2", "toy"]
Part = Literal["all", "sft", "rollouts"]
Method = Literal["dpo", "rejection_sampling", "rejection_sampling_then_dpo", "none"]
# Those of TRL's losses that need no further setting (trl/trainer/dpo_config.py).
Loss = Literal[
    "sigmoid",
    "sigmoid_norm",
    "hinge",
    "ipo",
    "nca_pair",
    "bco_pair",
    "sppo_hard",
    "aot",
    "aot_unpaired",
    "apo_zero",
    "apo_down",
    "discopop",
    "sft",
]
Mode = Literal[
    "one_at_a_time",
    "one_question",
    "pipeline",
    "shards",
    "tensor_parallel",
    "full",
    "full_shards",
    "small",
    "small_one_engine",
]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, protected_namespaces=(), allow_inf_nan=False)


class QuestionSource(Section):
    """Where one set of questions comes from."""

    source: Literal["synthetic", "file", "hub"] = Field(
        "synthetic", description="generator, local JSONL or hub data set"
    )
    path: str | None = Field(None, description="local JSONL with `question` and `answer` (ending `#### N`)")
    hub_id: str | None = Field(None, description="data set id on the hub, say openai/gsm8k")
    hub_config: str | None = Field("main", description="configuration name of the hub data set")
    revision: str | None = Field(None, description="commit of the hub data set; pin it")
    split: str = Field("train", description="split of the hub data set, or of the generator")
    n: int | None = Field(None, ge=1, description="take the first n questions; null takes all")
    seed: int = Field(0, ge=0, description="seed of the generator")
    licence: str | None = Field(None, description="licence, carried into questions.json")
    corrections: dict[str, str] = Field(
        default_factory=dict, description="right answers by question id, for labels known to be wrong: IS, or WAS -> IS"
    )

    @model_validator(mode="after")
    def _complete(self) -> "QuestionSource":
        if self.source == "file" and not self.path:
            raise ValueError("source: file needs a path")
        if self.source == "hub" and not self.hub_id:
            raise ValueError("source: hub needs a hub_id")
        return self


class Questions(Section):
    """Training and evaluation questions, held-out part, overlap check."""

    train: QuestionSource = Field(default_factory=lambda: QuestionSource())
    eval: QuestionSource = Field(default_factory=lambda: QuestionSource(split="eval"))
    heldout_fraction: float = Field(
        0.05, ge=0, lt=1, description="share of train held out, by hash of the question's id"
    )
    variants: int = Field(
        0,
        ge=0,
        le=1000,
        description="of each training question, with other numbers: those whose written calculations allow it",
    )
    rollout_fraction: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of train in the part `rollouts`, by hash of the question's id, variants with it; the others are in"
        " `sft`. What is made of each: sft.part, generate.part",
    )
    overlap_ngram: int = Field(8, ge=3, description="words a n-gram of the train/eval overlap check")
    overlap_drop: float = Field(
        0.5,
        gt=0,
        le=1,
        description="drop a training question when this share of an evaluation question's n-grams is in it",
    )


class TinyModel(Section):
    """The model that `base_model` trains from scratch where source is `tiny`."""

    vocab_size: int = Field(600, ge=300)
    hidden_size: int = Field(128, ge=8)
    num_layers: int = Field(2, ge=1)
    num_heads: int = Field(4, ge=1)
    intermediate_size: int = Field(384, ge=8)
    max_position_embeddings: int = Field(256, ge=64)
    steps: int = Field(750, ge=1, description="optimiser steps")
    batch_size: int = Field(16, ge=1, description="sequences a step")
    sequence_length: int = Field(128, ge=16, description="tokens a packed sequence")
    muon_lr: float = Field(0.02, gt=0, description="learning rate of 2-D hidden weights (Muon)")
    adamw_lr: float = Field(0.005, gt=0, description="learning rate of all other weights (AdamW)")


class BaseModelSource(Section):
    """The base model."""

    source: Literal["tiny", "hub", "local", "gguf"] = Field(
        "tiny", description="trained here, hub snapshot, folder or file"
    )
    hub_id: str | None = Field(None, description="model id on the hub")
    revision: str | None = Field(None, description="commit of the hub model; pin it")
    path: str | None = Field(
        None, description="local model folder (.safetensors or .bin) or GGUF file; used instead of the hub"
    )
    licence: str | None = Field(None, description="licence, carried into the manifest")
    trust_remote_code: bool = Field(False, description="run code from the model's repository; named in the report")
    tiny: TinyModel = Field(default_factory=lambda: TinyModel())

    @model_validator(mode="after")
    def _complete(self) -> "BaseModelSource":
        if self.source in ("local", "gguf") and not self.path:
            raise ValueError(f"source: {self.source} needs a path")
        if self.source == "hub" and not self.hub_id:
            raise ValueError("source: hub needs a hub_id")
        return self


# What transformers gives a chat template itself.
TEMPLATE_OWN = frozenset(
    {"messages", "tools", "documents", "add_generation_prompt", "continue_final_message", "bos_token"}
)


class Prompt(Section):
    """How a model is asked, used by SFT, generation, DPO and evaluation alike."""

    format: Literal["template", "chat"] = Field(
        "template", description="template: the text below; chat: messages through the model's own chat template"
    )
    template: str = Field(
        "Question:\n{question}\nAnswer:\nLet's think step by step.\n",
        description="the prompt around {question}, a style's instruction before it; for format template",
    )
    stop: list[str] | None = Field(
        None,
        description='texts that end a completion in the evaluation; null: "\\nQuestion" for template, none for chat',
    )
    system: str | None = Field(
        None, description="system message for chat; null writes none of ours, which leaves a template's own in place"
    )
    style_in: Literal["system", "user"] = Field(
        "user", description="for chat: a style's instruction stands in the system message, or before the question"
    )
    template_kwargs: dict[str, bool | int | float | str] = Field(
        default_factory=dict, description="variables of the chat template, say {enable_thinking: false}"
    )
    think_marks: Literal["auto"] | tuple[str, str] | None = Field(
        "auto",
        description="what stands around a reasoning model's thought; auto: as its tokenizer has; null: nothing does",
    )

    @model_validator(mode="after")
    def _consistent(self) -> "Prompt":
        if self.template.count("{question}") != 1:
            raise ValueError("template must hold {question} exactly once")
        if reserved := sorted(TEMPLATE_OWN & set(self.template_kwargs)):
            raise ValueError(f"template_kwargs: {reserved[0]!r} is not yours to set")
        if isinstance(self.think_marks, tuple) and not all(mark.strip() for mark in self.think_marks):
            raise ValueError("think_marks: a mark is empty")
        if self.format == "template" and (self.system is not None or self.template_kwargs):
            raise ValueError("system and template_kwargs are for format chat; set it, or take them out")
        if self.stop is None:
            self.stop = ["\nQuestion"] if self.format == "template" else []
        return self


class Arm(Section):
    """One way of sampling a trajectory."""

    name: str = Field(pattern=NAME)
    style: str = Field(pattern=NAME)
    temperature: float = Field(ge=0, le=5)


class Lora(Section):
    """A LoRA adapter (PEFT)."""

    r: int = Field(16, ge=1, description="rank")
    alpha: int = Field(32, ge=1, description="scale is alpha / r")
    dropout: float = Field(0.0, ge=0, lt=1)
    target_modules: list[str] | Literal["all-linear"] = Field("all-linear", description="module names, or all-linear")


class Training(Section):
    """What SFT and DPO have in common."""

    lora: Lora = Field(default_factory=lambda: Lora())
    learning_rate: float = Field(1e-3, gt=0)
    epochs: float = Field(1.0, gt=0)
    batch_size: int = Field(16, ge=1, description="examples or pairs an optimiser step, over all GPUs")
    per_device_batch_size: int = Field(
        16, ge=1, description="examples or pairs a GPU and forward pass; lower it on out-of-memory"
    )
    warmup_ratio: float = Field(0.1, ge=0, le=1)
    scheduler: str = Field("cosine", description="learning-rate schedule as transformers names it")
    max_length: int | None = Field(
        None, ge=16, description="tokens; null takes the longest example. Longer ones are an error"
    )
    gradient_checkpointing: bool = Field(False, description="less memory, a third more time")
    compile: bool | Literal["auto"] = Field(
        "auto",
        description="compile the decoder layers with torch; auto: on a GPU, where a training is long enough to gain by it",
    )
    save_steps: int = Field(100, ge=1, description="steps between checkpoints to resume from")
    gpus: Count | Literal["auto"] = Field("auto", description="GPUs of the job; auto takes all")


class Sft(Training):
    """Supervised fine-tuning with LoRA on the rationales."""

    adapter: str | None = Field(None, description="an existing LoRA adapter folder; training is skipped")
    part: Part = Field("all", description="training questions to learn: of this part (questions.rollout_fraction)")
    n_examples: int | None = Field(None, ge=1, description="the first n questions of the part; null takes all")
    sum_exercises: int = Field(0, ge=0, description="rows of eight sums besides, like the rationales' own")
    styles: list[str] = Field(
        default_factory=lambda: ["plain"], description="prompts to train on, in turn; plain has no instruction"
    )


class Merge(Section):
    """Merging an adapter into its base."""

    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto takes the GPU if the model fits it")


class Generate(Section):
    """Rollouts: one trajectory an arm and question."""

    part: Part = Field("all", description="training questions to sample: of this part (questions.rollout_fraction)")
    n_samples: int = Field(500, ge=1, description="questions")
    skip: int = Field(0, ge=0, description="questions of the part passed over first, say those that SFT saw")
    new_questions: bool = Field(
        False,
        description="each round takes the n_samples questions after those of the round before; false: the same ones",
    )
    max_new_tokens: int = Field(512, ge=1)
    top_p: float = Field(1.0, gt=0, le=1)
    shards: Annotated[int, Field(ge=1, le=MOST_SHARDS)] | Literal["auto"] = Field(
        "auto", description="jobs; auto takes one a GPU as far as the work is worth it"
    )


class Vllm(Section):
    """vLLM engine arguments."""

    tensor_parallel_size: int = Field(
        1, ge=1, description="GPUs an engine; above 1 only for models that do not fit one GPU"
    )
    max_num_seqs: int = Field(1024, ge=1, description="requests decoded at once; lower it on out-of-memory")
    max_num_batched_tokens: int | None = Field(None, ge=1, description="tokens a step; null takes vLLM's default")
    gpu_memory_utilization: float = Field(0.9, gt=0, le=1, description="share of GPU memory for weights and KV cache")
    max_model_len: int | None = Field(
        None, ge=16, description="prompt and completion; null takes what the requests need"
    )
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = Field("bfloat16")
    enforce_eager: bool = Field(False, description="skip compilation and CUDA graphs: quick start, slow decoding")
    load_format: Literal["auto", "dummy"] = Field("auto", description="dummy takes random weights, for benchmarks")
    in_flight: int = Field(2048, ge=1, description="requests handed to the engine at once")
    engines_per_gpu: Count | Literal["auto"] = Field(
        "auto", description="engines that share a GPU; auto: several for a model so small that the CPU is the bound"
    )
    offline_scheduler: bool = Field(
        True,
        description="tokens leave the engine when their completion ends, free places are given away a few dozen at a time;"
        " false: vLLM's own scheduler, each at once",
    )

    @model_validator(mode="after")
    def _one_way_of_sharing(self) -> "Vllm":
        if self.tensor_parallel_size > 1 and self.engines_per_gpu not in ("auto", 1):
            raise ValueError("engines_per_gpu and tensor_parallel_size are both above 1; set one of them to 1")
        return self


class Transformers(Section):
    """Settings of the transformers engine."""

    batch_size: int = Field(128, ge=1, description="rows decoded at once; lower it on out-of-memory")
    mode: Literal["batched", "one_at_a_time"] = Field(
        "batched", description="one_at_a_time is the baseline of old guides"
    )


class Lengths(Section):
    """Log-normal numbers of new tokens, a request's own, at most max_new_tokens."""

    mean: float = Field(149, gt=0, description="tokens, before the cut at max_new_tokens")
    sigma: float = Field(0.5, gt=0, description="standard deviation of the logarithm")


class Engine(Section):
    """How text is generated, for rollouts and evaluation."""

    name: Literal["auto", "vllm", "transformers"] = Field("auto", description="auto: vLLM where it and a GPU are there")
    stall_timeout: int = Field(
        900, ge=10, description="seconds without a finished trajectory after which the engine is given up"
    )
    random_lengths: Lengths | None = Field(
        None, description="when each completion ends, for models of random weights, which never end one; null otherwise"
    )
    vllm: Vllm = Field(default_factory=lambda: Vllm())
    transformers: Transformers = Field(default_factory=lambda: Transformers())


class Coherence(Section):
    """Weights of the coherence terms; s_end, s_path and s_cf sum to 1."""

    s_end: float = Field(0.4, ge=0, le=1, description="same final answer")
    s_path: float = Field(0.3, ge=0, le=1, description="similar reasoning among those with the same answer")
    s_cf: float = Field(0.3, ge=0, le=1, description="same answer in the other style")
    path_mix: float = Field(0.5, ge=0, le=1, description="numbers and equations against wording in s_path")

    @model_validator(mode="after")
    def _sum(self) -> "Coherence":
        if abs(self.s_end + self.s_path + self.s_cf - 1) > 1e-6:
            raise ValueError(f"s_end + s_path + s_cf must be 1, found {self.s_end + self.s_path + self.s_cf:g}")
        return self


class Reward(Section):
    """alpha * correct + beta * s_wm - lambda_length * max(0, num_tokens - length_limit)."""

    alpha: float = Field(1.0, ge=0)
    beta: float = Field(0.5, ge=0)
    lambda_length: float = Field(0.001, ge=0, description="a token over length_limit")
    length_limit: int = Field(512, ge=1, description="tokens")
    coherence_level: Literal["trajectory", "question"] = Field(
        "trajectory", description="question: s_wm the same for all arms"
    )
    math_verify: bool = Field(True, description="second opinion on every answer; disagreements are reported")


class Pairs(Section):
    """Which trajectories make a preference pair."""

    policy: Literal["capped", "all", "best_worst"] = Field("capped")
    per_question: int = Field(4, ge=1, description="pairs a question at most, for capped")
    coherence_share: float = Field(0.25, ge=0, le=1, description="share of coherence pairs at most; 0 makes none")
    min_margin: float = Field(0.05, ge=0, description="reward difference at least")
    max_similarity: float = Field(0.95, gt=0, le=1, description="drop pairs of texts more alike than this")
    max_length_ratio: float = Field(3.0, ge=1, description="longer over shorter side, in tokens")
    train_prompt: Literal["arm", "canonical"] = Field(
        "arm", description="prompt of the chosen's style, or without instruction"
    )
    same_style: bool = Field(True, description="both sides from the same style")
    calculations: int = Field(
        0, ge=0, description="pairs of a wrong sum put right and as written, a question at most; 0 makes none"
    )


class RejectionSampling(Training):
    """Rejection-sampling fine-tuning: SFT goes on with the policy's own correct trajectories."""

    per_question: int = Field(4, ge=1, description="trajectories a question at most")
    max_similarity: float = Field(0.95, gt=0, le=1, description="leave out texts more alike than this to one taken")
    train_prompt: Literal["arm", "canonical"] = Field(
        "arm", description="prompt of the trajectory's style, or without instruction"
    )


class Dpo(Training):
    """Direct preference optimisation with LoRA on the merged policy."""

    loss_type: list[Loss] = Field(["sigmoid", "sft"], min_length=1, description="as TRL names them")
    loss_weights: list[float] = Field(default_factory=lambda: [1.0, 1.0], min_length=1)
    beta: float = Field(0.1, gt=0)
    alarm_logps_drop: float = Field(
        10.0, gt=0, description="alarm when the chosen log-probability falls by more nats below its start than this"
    )

    @model_validator(mode="after")
    def _weights(self) -> "Dpo":
        if len(self.loss_type) != len(self.loss_weights):
            raise ValueError(f"loss_type has {len(self.loss_type)} entries, loss_weights {len(self.loss_weights)}")
        return self


class Evaluate(Section):
    """Evaluation of base, SFT and each round."""

    k: int = Field(8, ge=1, description="samples a question")
    temperature: float = Field(0.7, gt=0, le=5, description="of the k samples; the greedy answer is always taken too")
    top_p: float = Field(1.0, gt=0, le=1)
    max_new_tokens: int = Field(512, ge=1)
    n_questions: int | None = Field(None, ge=1, description="the first n evaluation questions; null takes all")
    styles: list[str] = Field(
        default_factory=lambda: ["plain"], description="prompts, one a question by hash of its id"
    )
    batch_invariant: bool = Field(False, description="VLLM_BATCH_INVARIANT=1: same tokens whatever the batch, slower")


class Report(Section):
    """The evaluation report."""

    title: str = Field("Preference optimisation report")
    level: float = Field(0.95, gt=0.5, lt=1, description="confidence level of the intervals")
    n_boot: int = Field(10000, ge=100, description="bootstrap resamples")
    gpu_hour_usd: float = Field(1.25, ge=0, description="price of one GPU for an hour (8 for 10 USD in the guide)")
    gallery: int = Field(5, ge=0, description="flipped answers shown in each direction")


class Benchmark(Section):
    """The benchmark: the pipeline's own jobs on a model of random weights (configs/benchmark.yaml)."""

    shape: Shape = Field("abel", description="shape of the model of random weights")
    small_shape: Shape = Field("smollm2", description="shape of the model that several engines a GPU are measured with")
    modes: list[Mode] = Field(
        min_length=1, description="ways of generating to measure; those that need more GPUs are left out"
    )
    sample_trajectories: int = Field(16, ge=1, description="sample of one_at_a_time")
    sample_questions: int = Field(12, ge=1, description="sample of one_question")
    full_questions: int = Field(7473, ge=1, description="questions of full and full_shards")
    small_questions: int = Field(2200, ge=1, description="questions of small and small_one_engine")
    question_tokens: tuple[int, int] = Field((70, 110), description="words of random text a question, a token each")
    pairs: int = Field(1500, ge=1, description="preference pairs for DPO")
    pair_tokens: int = Field(200, ge=2, description="mean tokens of a pair's completions, beside the prompt")
    models: list[str] = Field(default_factory=lambda: ["round1"], min_length=1, description="models that are evaluated")
    peak_tflops: float | None = Field(
        None, gt=0, description="dense bfloat16 peak of the GPU; null takes the data sheet's of known GPUs"
    )
    without_gpu: dict[str, Any] = Field(
        default_factory=dict, description="a further overlay over the config, taken on a machine without GPU"
    )


class StudyEvaluation(Section):
    """Evaluation of recipes on the held-out questions, where it differs from `evaluate`."""

    k: int = Field(8, ge=1, description="samples a question")
    n_questions: int | None = Field(None, ge=1, description="the first n held-out questions; null takes all")


class Study(Section):
    """Recipes compared on held-out training questions (`snakemake study_report`)."""

    recipes: dict[Annotated[str, Field(pattern=NAME)], dict[str, Any] | None] = Field(
        min_length=1,
        description="name: overlay over this configuration; {} is the run as it is",
        json_schema_extra={"additionalProperties": False},
    )
    baselines: list[str] = Field(
        min_length=1, description="recipes that every other one is tested against, and that are read on `eval` too"
    )
    reference: str = Field(description="the recipe that the others vary in one thing each")
    only: list[str] | None = Field(None, description="these recipes, baselines and reference alone; null takes all")
    chosen: str | None = Field(
        None, description="recipe to read on `eval`; null takes the best one on the held-out questions"
    )
    evaluate: StudyEvaluation = Field(default_factory=lambda: StudyEvaluation())
    n_boot: int = Field(
        100_000,
        ge=100,
        description="bootstrap resamples; p values below 2 / n_boot times the comparisons cannot be seen",
    )

    @model_validator(mode="after")
    def _known(self) -> "Study":
        named = {"baselines": self.baselines, "reference": [self.reference], "only": self.only or []}
        for where, names in (named | {"chosen": [self.chosen] if self.chosen else []}).items():
            if unknown := sorted(set(names) - set(self.recipes)):
                raise ValueError(f"{where}: {unknown[0]!r} is not under recipes; known are {sorted(self.recipes)}")
        if self.chosen and self.only is not None and self.chosen not in {*self.only, *self.baselines, self.reference}:
            raise ValueError(f"chosen: {self.chosen!r} is not among `only`")
        return self


class Config(Section):
    """A run of the pipeline."""

    run: str = Field("demo", pattern=NAME, description="name of the run; its outputs stand in folders of that name")
    seed: int = Field(0, ge=0, lt=2**32, description="base seed of everything random")
    method: Method = Field(
        "dpo",
        description="how a round trains; rejection_sampling_then_dpo: the first by rejection sampling, the others by DPO",
    )
    rounds: int = Field(
        1, ge=1, le=99, description="rounds of rollouts and training; round r+1 samples from round r's model"
    )
    questions: Questions = Field(default_factory=lambda: Questions())
    base_model: BaseModelSource = Field(default_factory=lambda: BaseModelSource())
    prompt: Prompt = Field(default_factory=lambda: Prompt())
    styles: dict[str, str] = Field(default_factory=dict, description="instruction of each style, before the prompt")
    arms: list[Arm] = Field(min_length=2, description="one trajectory a question each")
    sft: Sft = Field(default_factory=lambda: Sft())
    merge: Merge = Field(default_factory=lambda: Merge())
    generate: Generate = Field(default_factory=lambda: Generate())
    engine: Engine = Field(default_factory=lambda: Engine())
    coherence: Coherence = Field(default_factory=lambda: Coherence())
    reward: Reward = Field(default_factory=lambda: Reward())
    pairs: Pairs = Field(default_factory=lambda: Pairs())
    rejection_sampling: RejectionSampling = Field(default_factory=lambda: RejectionSampling())
    dpo: Dpo = Field(default_factory=lambda: Dpo())
    evaluate: Evaluate = Field(default_factory=lambda: Evaluate())
    report: Report = Field(default_factory=lambda: Report())
    benchmark: Benchmark | None = Field(None, description="the benchmark's own settings; null for any other run")
    study: Study | None = Field(None, description="recipes to compare; null where there is nothing to compare")

    @model_validator(mode="after")
    def _consistent(self) -> "Config":
        names = [arm.name for arm in self.arms]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"arms: the name {twice[0]!r} stands twice; give each arm a name of its own")
        known = {"plain", *self.styles}
        for where, used in (
            ("arms", [arm.style for arm in self.arms]),
            ("sft.styles", self.sft.styles),
            ("evaluate.styles", self.evaluate.styles),
        ):
            if unknown := sorted(set(used) - known):
                raise ValueError(f"{where}: style {unknown[0]!r} is not under styles; known are {sorted(known)}")
        if self.study and not self.questions.heldout_fraction:
            raise ValueError("study: recipes are ranked on held-out questions; set questions.heldout_fraction above 0")
        if self.method == "rejection_sampling_then_dpo" and self.rounds < 2:
            raise ValueError(
                "method rejection_sampling_then_dpo needs rounds: 2 or more, the first is rejection sampling"
            )
        check_weights(
            alpha=self.reward.alpha,
            beta=self.reward.beta,
            lambda_length=self.reward.lambda_length,
            length_limit=self.reward.length_limit,
            max_tokens=self.generate.max_new_tokens,
        )
        return self


def load(raw: dict[str, Any]) -> dict[str, Any]:
    """Check a raw configuration, fill its defaults in; UserError with one line a problem."""
    try:
        # Through JSON, so that 1 and 1.0 reach the rules as one value.
        return Config.model_validate_json(json.dumps(raw, default=_date, allow_nan=False), strict=False).model_dump()
    except ValidationError as error:
        problems = error.errors(include_url=False)
        more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise UserError("config: " + "; ".join(f"{_sentence(e):.400}" for e in problems[:SHOWN]) + more) from None
    except (TypeError, ValueError, RecursionError) as error:
        raise UserError(f"config: holds what JSON cannot ({error}); see config.yaml for the keys") from None


def schema() -> dict[str, Any]:
    return Config.model_json_schema()


def _date(value: Any) -> str:
    """YAML reads a bare 2026-01-31 as a date; here it is a text."""
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(f"a value of type {type(value).__name__}")


def _sentence(error: Any) -> str:
    where = ".".join(f"{part:.60}" if isinstance(part, str) else str(part) for part in error["loc"]) or "the whole"
    if error["type"] == "extra_forbidden":
        return f"{where}: no such key{_nearest(error['loc'])}"
    if error["type"] == "value_error":
        return f"{where}: {error['ctx']['error']}" if error["loc"] else str(error["ctx"]["error"])
    return f"{where}: {error['msg']}, found {error['input']!r:.80}"


def _nearest(loc: tuple[Any, ...]) -> str:
    model: Any = Config
    for part in loc[:-1]:
        field = getattr(model, "model_fields", {}).get(part)
        model = field.annotation if field else None
    close = difflib.get_close_matches(str(loc[-1]), getattr(model, "model_fields", {}), n=1)
    return f"; did you mean {close[0]!r}?" if close else "; see config.yaml for the keys"


def main() -> None:
    print(json.dumps(schema(), indent=2))


if __name__ == "__main__":
    run(main)
