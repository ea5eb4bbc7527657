"""The configuration: every key with its type, default, bounds and description, in one place.

config = load(raw)                                  # a plain dict, complete and checked; UserError otherwise
python -m regime_w.config.schema > config.schema.json                # the JSON schema of config files (editors, tests)
python -m regime_w.config.reference > docs/reference/config.md       # the same for people

Defaults are those of a real model of some 7B weights. What another run needs stands in its own file (configs/), which
regime_w/config/files.py reads.
"""

import difflib
import json
from collections.abc import Iterator, Mapping
from datetime import date
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)  # fmt: skip

from regime_w.config.benchmark_modes import MODES
from regime_w.config.harness import TASKS
from regime_w.method.rewards import check_weights
from regime_w.runtime.errors import UserError, run

NAME = r"^[a-z0-9][a-z0-9_-]{0,63}$"
HUB_ID = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,95}(/[A-Za-z0-9][A-Za-z0-9_.-]{0,95})?$"
MOST_SHARDS = 10_000  # of a round: each is a job
SHOWN = 20  # problems that are told at once
REFERENCE = "docs/reference/config.md"
# A number that only a slip reaches: it is told, instead of a machine that runs full.
MANY = 10**9
Count = Annotated[int, Field(ge=1, le=MANY)]
Text = Annotated[str, Field(min_length=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
ModelName = Annotated[str, Field(pattern=r"^(base|sft|round[1-9][0-9]*)$")]
Shape = Literal["abel", "smollm2", "toy"]
Part = Literal["all", "sft", "rollouts"]
Method = Literal["dpo", "rejection_sampling", "rejection_sampling_then_dpo", "none"]
Tracker = Literal["tensorboard", "wandb", "trackio", "mlflow"]
# Those of transformers' schedules that need no further setting and no evaluation (transformers/optimization.py).
Scheduler = Literal[
    "linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup", "inverse_sqrt"
]
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
# What a run says that is missing, so that nothing is trained, or asked, that nobody named.
MISSING = {
    "run": "name the run, say `run: mine`",
    "base_model.source": "name a model: hub with hub_id, local or gguf with path, or tiny",
    "questions.train.source": "name training questions: hub with hub_id, file with path, or synthetic with n",
    "questions.eval": "name evaluation sets: eval: {NAME: {source: ...}}, hub with hub_id, file with path, or synthetic with n",
}
# A section that is checked though nothing is said of it.
GIVEN: dict[str, Any] = {"default_factory": dict, "validate_default": True}
HELD_OUT = "heldout"
# The generator's (SPLITS in regime_w/questions/synthetic.py), less the one that the tiny model learns from.
SYNTHETIC_SPLITS = ("train", "eval")


def _mode(name: str) -> str:
    if name not in MODES:
        raise ValueError(f"{name!r} is no way of generating; known are {list(MODES)}")
    return name


Mode = Annotated[str, AfterValidator(_mode), Field(json_schema_extra={"enum": list(MODES)})]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, protected_namespaces=(), allow_inf_nan=False)


class Columns(Section):
    """The data's column for each field of a question; null where it has none. `'{a} {b}'` joins the texts of two columns."""

    id: Text | None = Field("id", description="tells questions apart; numbered in their order where there is none")
    question: Text = Field("question", description="the question")
    answer: Text | None = Field(
        "answer",
        description="a worked solution, which SFT learns, and which ends in the answer (`#### N`); or the answer alone",
    )
    gold: Text | None = Field(
        "gold_answer", description="the right answer alone, where it stands in a column of its own"
    )
    options: Text | None = Field(
        "options",
        description="the options of a choice; shown below the question, where its own lines do not show them",
    )
    rationales: Text | None = Field("rationales", description="worked solutions by style, in place of `answer`")


class QuestionSource(Section):
    """Where questions come from."""

    source: Literal["synthetic", "file", "hub"] = Field(description="generator, local file or folder, or hub data set")
    path: Text | None = Field(
        None, description="local file (.jsonl, .json, .csv, .tsv, .parquet) or folder of a data set"
    )
    hub_id: str | None = Field(None, pattern=HUB_ID, description="data set id on the hub, say openai/gsm8k")
    hub_config: Text | None = Field(None, description="configuration name of the hub data set, say main")
    revision: Text | None = Field(None, description="commit of the hub data set; pin it")
    split: Text = Field("train", description="split of the hub data set, or of the generator (train, eval)")
    columns: Columns = Field(
        default_factory=lambda: Columns(), description="which column of the data is what, where names differ"
    )
    keep: list[Text] = Field(
        default_factory=list, description="further columns to carry along as `data`, for a verifier of your own"
    )
    on_bad_row: Literal["error", "drop"] = Field(
        "error", description="a row that is no question: stop at the first, or count it and go on"
    )
    n: Count | None = Field(
        None, description="take the first n questions; null takes all, the generator needs a number"
    )
    seed: Seed = Field(0, description="seed of the generator")
    form: Literal["number", "choice"] = Field(
        "number",
        description="the generator's answers: numbers, or the letters of options that it shows (task.verifier: choice)",
    )
    licence: str | None = Field(None, description="licence, carried into the summary")
    corrections: dict[str, str] | Text = Field(
        default_factory=dict,
        description="right answers by question id, for labels known to be wrong: IS, or WAS -> IS; or a JSON or CSV file"
        " of them (id,correction)",
    )

    @model_validator(mode="after")
    def _complete(self) -> "QuestionSource":
        if self.source == "file" and not self.path:
            raise ValueError("source: file needs a path")
        if self.source == "hub" and not self.hub_id:
            raise ValueError("source: hub needs a hub_id")
        if self.source == "synthetic" and not self.n:
            raise ValueError("source: synthetic needs n, the number of questions to make")
        if self.source == "synthetic" and self.split not in SYNTHETIC_SPLITS:
            raise ValueError(f"split {self.split!r} is none of the generator's, {' and '.join(SYNTHETIC_SPLITS)}")
        if self.source != "synthetic" and self.form != "number":
            raise ValueError(f"form: {self.form} is the generator's, source is {self.source}; take form out")
        return self


class TrainSource(QuestionSource):
    """Where training questions come from."""

    name: str | None = Field(
        None, pattern=NAME, description="begins the ids of its questions, where several sources are mixed"
    )
    weight: float | None = Field(
        None, gt=0, le=MANY, description="share in a mixture, beside the other sources' weights; null takes all of each"
    )


class EvalSet(QuestionSource):
    """One evaluation set, and what differs in how it is asked and judged."""

    split: Text = Field("test", description="split of the hub data set, or of the generator (train, eval)")
    task: dict[str, Any] | None = Field(
        None, description="keys of `task` that differ for this set, say {verifier: choice}"
    )
    prompt: dict[str, Any] | None = Field(None, description="keys of `prompt` that differ for this set")
    evaluate: dict[str, Any] | None = Field(
        None, description="keys of `evaluate` that differ for this set, say {k: 32}"
    )


def _one_or_several(value: Any) -> str:
    return SEVERAL if isinstance(value, list) else ONE


# Which of the two it is decides, so that an error is told of that one alone; `_sentences` leaves the tags out.
ONE, SEVERAL = "<one>", "<several>"
Train = Annotated[
    Annotated[TrainSource, Tag(ONE)] | Annotated[list[TrainSource], Field(min_length=1), Tag(SEVERAL)],
    Discriminator(_one_or_several),
]
SetName = Annotated[str, Field(pattern=NAME)]


class Questions(Section):
    """Training and evaluation questions, held-out part, overlap check."""

    train: Train = Field(description="training questions, of one source or a list of sources", **GIVEN)
    eval: dict[SetName, EvalSet] = Field(
        description="evaluation sets by name; the report's headline is about the first. null takes out one that a file below"
        " names",
        json_schema_extra={"additionalProperties": False, "minProperties": 1},
    )
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
    overlap_ngram: int = Field(8, ge=3, le=1000, description="words a n-gram of the overlap check")
    overlap_drop: float = Field(
        0.5,
        gt=0,
        le=1,
        description="drop a training question when this share of an evaluation or held-out question's n-grams is in it, or its"
        " whole text",
    )

    @field_validator("eval", mode="before")
    @classmethod
    def _named(cls, sets: Any) -> Any:
        if not isinstance(sets, dict):
            return sets
        if isinstance(sets.get("source"), str):
            raise ValueError("give each evaluation set a name, eval: {NAME: {source: ..., ...}}")
        if not any(own is not None for own in sets.values()):
            raise ValueError("no evaluation set is left; name one, eval: {NAME: {source: ..., ...}}")
        if HELD_OUT in sets:
            raise ValueError(f"{HELD_OUT} is the name of the held-out training questions; give the set another name")
        return {name: own for name, own in sets.items() if own is not None}


class TinyModel(Section):
    """The model that `base_model` trains from scratch where source is `tiny`."""

    vocab_size: int = Field(600, ge=300, le=65_536, description="tokens of the tokenizer, about")
    hidden_size: int = Field(128, ge=8, le=8192, description="width; a multiple of twice num_heads")
    num_layers: int = Field(2, ge=1, le=128, description="decoder layers")
    num_heads: int = Field(4, ge=1, le=256, description="attention heads")
    intermediate_size: int = Field(384, ge=8, le=65_536, description="width inside a layer's MLP")
    max_position_embeddings: int = Field(256, ge=64, le=131_072, description="tokens of prompt and completion at most")
    steps: int = Field(750, ge=1, le=1_000_000, description="optimiser steps")
    batch_size: int = Field(16, ge=1, le=65_536, description="sequences a step")
    sequence_length: int = Field(128, ge=16, le=131_072, description="tokens a packed sequence")
    muon_lr: float = Field(0.02, gt=0, le=1, description="learning rate of 2-D hidden weights (Muon)")
    adamw_lr: float = Field(0.005, gt=0, le=1, description="learning rate of all other weights (AdamW)")

    @model_validator(mode="after")
    def _shape(self) -> "TinyModel":
        if self.hidden_size % (2 * self.num_heads):
            raise ValueError(
                f"hidden_size {self.hidden_size} does not go into {self.num_heads} heads of an even width; make it a multiple"
                f" of {2 * self.num_heads}, or change num_heads"
            )
        if self.sequence_length > self.max_position_embeddings:
            raise ValueError(
                f"sequence_length {self.sequence_length} exceeds max_position_embeddings {self.max_position_embeddings}"
            )
        return self


class BaseModelSource(Section):
    """The base model."""

    source: Literal["tiny", "hub", "local", "gguf"] = Field(description="trained here, hub snapshot, folder or file")
    hub_id: str | None = Field(None, pattern=HUB_ID, description="model id on the hub")
    revision: Text | None = Field(None, description="commit of the hub model; pin it")
    path: Text | None = Field(
        None, description="local model folder (.safetensors or .bin) or GGUF file; used instead of the hub"
    )
    licence: str | None = Field(None, description="licence, carried into the manifest")
    trust_remote_code: bool = Field(False, description="run code from the model's repository; named in the report")
    tiny: TinyModel = Field(
        default_factory=lambda: TinyModel(), description="the model trained here, where source is tiny"
    )

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
    stop: list[Text] | None = Field(
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


class Task(Section):
    """What an answer is, and who says whether it is right (regime_w/tasks/verifiers.py)."""

    verifier: str = Field(
        "number",
        pattern=r"^(number|latex|choice|exact|[^{}]+\.py:[A-Za-z_][A-Za-z0-9_]*)$",
        description="number, latex (math-verify), choice (a letter; rows have `options`), exact (a text), or a function of"
        " yours, path/to/file.py:function, grade(text, gold, row) -> {answer, correct, score}",
    )
    timeout: float = Field(
        10, gt=0, le=86_400, description="seconds that latex and a function have for an answer; then it is not correct"
    )


class Arm(Section):
    """One way of sampling a trajectory."""

    name: str = Field(pattern=NAME, description="its name in the records")
    style: str = Field(pattern=NAME, description="one of `styles`, or plain for none")
    temperature: float = Field(ge=0, le=5, description="of sampling; 0 is greedy")


class Lora(Section):
    """A LoRA adapter (PEFT)."""

    r: int = Field(64, ge=1, le=65_536, description="rank")
    alpha: int = Field(128, ge=1, le=MANY, description="scale is alpha / r")
    dropout: float = Field(0.0, ge=0, lt=1, description="share of an adapter's inputs that a step leaves out")
    target_modules: Annotated[list[Text], Field(min_length=1)] | Literal["all-linear"] = Field(
        "all-linear", description="names of the modules that are adapted, or all-linear"
    )
    target_parameters: list[Text] = Field(
        default_factory=list,
        description="names of parameters that are adapted besides: experts' matrices, which are no modules"
        " (experts.gate_up_proj)",
    )

    @model_validator(mode="after")
    def _no_dropout_of_parameters(self) -> "Lora":
        if self.target_parameters and self.dropout:
            raise ValueError("dropout must be 0 with target_parameters")
        return self


class Training(Section):
    """What SFT and DPO have in common."""

    lora: Lora = Field(default_factory=lambda: Lora(), description="the adapter that is trained")
    learning_rate: float = Field(1e-4, gt=0, le=1, description="the highest of the schedule")
    epochs: float = Field(1.0, gt=0, le=10_000, description="passes over the examples")
    batch_size: int = Field(64, ge=1, le=1_000_000, description="examples or pairs an optimiser step, over all GPUs")
    per_device_batch_size: int = Field(
        8, ge=1, le=1_000_000, description="examples or pairs a GPU and forward pass; lower it on out-of-memory"
    )
    warmup_ratio: float = Field(0.1, ge=0, le=1, description="share of the steps in which the learning rate rises")
    scheduler: Scheduler = Field("cosine", description="learning-rate schedule as transformers names it")
    max_length: int | None = Field(
        None, ge=16, le=MANY, description="tokens; null takes the longest example. Longer ones are an error"
    )
    gradient_checkpointing: bool = Field(False, description="less memory, a third more time")
    compile: bool | Literal["auto"] = Field(
        "auto",
        description="compile the decoder layers with torch; auto: on a GPU, where a training is long enough to gain by it",
    )
    save_steps: int = Field(100, ge=1, le=MANY, description="steps between checkpoints to resume from")
    seed: Seed | None = Field(
        None,
        description="of the order of batches, the adapter's first weights and dropout, and of nothing else; null takes the"
        " run's `seed`",
    )
    gpus: Count | Literal["auto"] = Field("auto", description="GPUs of the job; auto takes all of a machine")

    @model_validator(mode="after")
    def _schedule(self) -> "Training":
        if self.scheduler == "constant" and self.warmup_ratio:
            raise ValueError("scheduler: constant has no warm-up; take constant_with_warmup, or set warmup_ratio: 0.0")
        if self.scheduler == "polynomial" and self.learning_rate <= 1e-7:
            raise ValueError(
                f"scheduler: polynomial ends at 1e-7; learning_rate {self.learning_rate:g} must be above that"
            )
        return self


class Sft(Training):
    """Supervised fine-tuning with LoRA on the rationales."""

    method: Literal["lora", "none"] = Field("lora", description="none: round 1 samples from the base model as it is")
    adapter: Text | None = Field(None, description="an existing LoRA adapter folder; training is skipped")
    part: Part = Field("all", description="training questions to learn: of this part (questions.rollout_fraction)")
    n_examples: Count | None = Field(None, description="the first n questions of the part; null takes all")
    sum_exercises: int = Field(
        0, ge=0, le=10_000_000, description="rows of eight sums besides, like the rationales' own"
    )
    styles: list[str] = Field(
        default_factory=lambda: ["plain", "wolfram", "maudlin"],
        min_length=1,
        description="prompts to train on, in turn; plain has no instruction",
    )


class Start(Section):
    """Another tool's work that round 1 begins with."""

    rollouts: Text | None = Field(
        None,
        description="file of trajectories, a row a question; `arms` describes them: they are scored, paired and trained on",
    )
    preferences: Text | None = Field(
        None, description="file of preference pairs in TRL's format, standard or conversational: they are trained on"
    )

    @model_validator(mode="after")
    def _one(self) -> "Start":
        if (self.rollouts is None) == (self.preferences is None):
            raise ValueError("name one file, rollouts or preferences")
        return self


class Merge(Section):
    """Merging an adapter into its base."""

    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto takes the GPU if the model fits it")


class Generate(Section):
    """Rollouts: one trajectory an arm and question."""

    part: Part = Field("all", description="training questions to sample: of this part (questions.rollout_fraction)")
    n_samples: Count = Field(500, description="questions")
    skip: int = Field(0, ge=0, le=MANY, description="questions of the part passed over first, say those that SFT saw")
    new_questions: bool = Field(
        False,
        description="each round takes the n_samples questions after those of the round before; false: the same ones",
    )
    max_new_tokens: int = Field(512, ge=1, le=1_000_000, description="tokens of a trajectory at most")
    top_p: float = Field(1.0, gt=0, le=1, description="nucleus sampling; 1.0 takes all tokens")
    shards: Annotated[int, Field(ge=1, le=MOST_SHARDS)] | Literal["auto"] = Field(
        "auto", description="jobs; auto takes one a GPU as far as the work is worth it"
    )


class Vllm(Section):
    """vLLM engine arguments."""

    tensor_parallel_size: int = Field(
        1, ge=1, le=1024, description="GPUs an engine; above 1 only for models that do not fit one GPU"
    )
    max_num_seqs: int = Field(
        1024, ge=1, le=1_000_000, description="requests decoded at once; lower it on out-of-memory"
    )
    max_num_batched_tokens: Count | None = Field(None, description="tokens a step; null takes vLLM's default")
    gpu_memory_utilization: float = Field(0.9, gt=0, le=1, description="share of GPU memory for weights and KV cache")
    max_model_len: int | None = Field(
        None, ge=16, le=MANY, description="prompt and completion; null takes what the requests need"
    )
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = Field("bfloat16", description="of weights and cache")
    enforce_eager: bool = Field(False, description="skip compilation and CUDA graphs: quick start, slow decoding")
    load_format: Literal["auto", "dummy"] = Field("auto", description="dummy takes random weights, for benchmarks")
    in_flight: Count = Field(
        2048,
        description="requests in the engine or waiting there; above max_num_seqs, so that a place never stays empty",
    )
    engines_per_gpu: Annotated[int, Field(ge=1, le=256)] | Literal["auto"] = Field(
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

    batch_size: int = Field(128, ge=1, le=1_000_000, description="rows decoded at once; lower it on out-of-memory")
    mode: Literal["batched", "one_at_a_time"] = Field(
        "batched", description="one_at_a_time is the baseline of old guides"
    )


class OpenAI(Section):
    """A served model. One of base_url and serve; a key is read from OPENAI_API_KEY alone."""

    base_url: str | None = Field(
        None,
        pattern=r"^https?://[^\s?#]+$",
        description="address of a server (vLLM, SGLang) that has the job's model, say http://gpu01:8000/v1",
    )
    serve: str | None = Field(
        None,
        min_length=1,
        description="command that serves a model, started by each job on its own GPUs, with {model}, {port} and, where it"
        " is wanted, {max_model_len}, say vllm serve {model} --port {port}",
    )
    concurrency: int = Field(256, ge=1, le=4096, description="requests on their way at once")
    timeout: float = Field(
        600, gt=0, le=MANY, description="seconds for one completion, after which it is asked for again"
    )
    retries: int = Field(8, ge=0, le=100, description="times that a request is repeated, after waits that double")
    start_timeout: int = Field(900, ge=1, le=MANY, description="seconds that a server of `serve` may take to start")

    @model_validator(mode="after")
    def _places(self) -> "OpenAI":
        if self.serve and (lacking := [place for place in ("{model}", "{port}") if place not in self.serve]):
            raise ValueError(f"serve names no {' and no '.join(lacking)}; the command must take both")
        return self


class Lengths(Section):
    """Log-normal numbers of new tokens, a request's own, at most max_new_tokens."""

    mean: float = Field(149, gt=0, le=1_000_000, description="tokens, before the cut at max_new_tokens")
    sigma: float = Field(0.5, gt=0, le=10, description="standard deviation of the logarithm")


class Engine(Section):
    """How text is generated, for rollouts and evaluation."""

    name: Literal["auto", "vllm", "transformers", "openai"] = Field(
        "auto", description="auto: vLLM where it and a GPU are there; openai: a served model"
    )
    stall_timeout: int = Field(
        900, ge=10, le=MANY, description="seconds without a finished trajectory after which the engine is given up"
    )
    random_lengths: Lengths | None = Field(
        None, description="when each completion ends, for models of random weights, which never end one; null otherwise"
    )
    vllm: Vllm = Field(default_factory=lambda: Vllm(), description="the engine on GPUs")
    transformers: Transformers = Field(default_factory=lambda: Transformers(), description="the engine on CPUs")
    openai: OpenAI = Field(default_factory=lambda: OpenAI(), description="a served model")

    @model_validator(mode="after")
    def _one_server(self) -> "Engine":
        if self.name == "openai" and bool(self.openai.base_url) == bool(self.openai.serve):
            raise ValueError("name is openai: set one of openai.base_url and openai.serve")
        return self


class Labels(Section):
    """What counts as right in rollouts, where gold is missing, withheld or made wrong (regime_w/method/labels.py)."""

    source: Literal["gold", "vote", "cross_style", "gold_share", "random"] = Field(
        "gold",
        description="gold answers; vote: the arms' majority; cross_style: of one style for the other; gold_share: gold for a"
        " share of the questions; random: any answer given, as a control",
    )
    share: float = Field(
        0.25, ge=0, le=1, description="of gold_share: questions with their gold answer, by hash of the id"
    )
    rest: Literal["vote", "cross_style", "drop"] = Field(
        "vote", description="of gold_share: labels of the other questions; drop: none"
    )
    min_agreement: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of the trajectories asked that must give a voted label, 0.5 is 4 of 8; below it there is none",
    )
    filter: Literal["none", "verifier_marked", "sums"] = Field(
        "none",
        description="who votes: none: every answer found; verifier_marked: in a marked place of a text that ended by itself;"
        " sums: of these the ones whose written sums hold",
    )
    weight: Literal["none", "margin"] = Field(
        "none",
        description="of a pair in DPO's loss; margin: share of votes of the chosen answer less that of the rejected one, mean 1",
    )
    noise: float = Field(
        0.0, ge=0, le=1, description="share of gold labels turned into another answer of the trajectories"
    )

    @property
    def voted(self) -> str | None:
        """The vote that makes labels, where one does."""
        source = self.rest if self.source == "gold_share" else self.source
        return source if source in ("vote", "cross_style") else None

    @model_validator(mode="after")
    def _used(self) -> "Labels":
        if self.noise and self.source not in ("gold", "gold_share"):
            raise ValueError(f"noise turns gold labels, source is {self.source}; set noise: 0, or source: gold")
        if self.min_agreement and not self.voted:
            raise ValueError("min_agreement is of votes, and nothing is voted on; set it to 0, or source: vote")
        if self.filter != "none" and not (self.voted or self.source == "random"):
            raise ValueError("filter says who votes, and nothing is voted on; set it to none, or source: vote")
        if self.weight == "margin" and not self.voted:
            raise ValueError("weight margin is of votes, and nothing is voted on; set weight: none, or source: vote")
        return self


class Coherence(Section):
    """Weights of the coherence terms; s_end, s_path and s_cf sum to 1."""

    s_end: float = Field(0.4, ge=0, le=1, description="same final answer")
    s_path: float = Field(0.3, ge=0, le=1, description="similar reasoning among those with the same answer")
    s_cf: float = Field(0.3, ge=0, le=1, description="same answer in the other style")
    path_mix: float = Field(0.5, ge=0, le=1, description="numbers and equations against wording in s_path")
    answers: Literal["marked", "all"] = Field(
        "marked",
        description="answers that agree: in a marked place of a text that ended by itself; all: any that was found",
    )

    @model_validator(mode="after")
    def _sum(self) -> "Coherence":
        if abs(self.s_end + self.s_path + self.s_cf - 1) > 1e-6:
            raise ValueError(f"s_end + s_path + s_cf must be 1, found {self.s_end + self.s_path + self.s_cf:g}")
        return self


class Reward(Section):
    """alpha * correct + beta * s_wm - lambda_length * max(0, num_tokens - length_limit)."""

    correct: Literal["correct", "score"] = Field(
        "correct",
        description="score: the verifier's score from 0 to 1 (task.verifier is a function) in place of 1 or 0",
    )
    alpha: float = Field(1.0, ge=0, le=MANY, description="of a correct answer")
    beta: float = Field(0.5, ge=0, le=MANY, description="of coherence; below alpha")
    lambda_length: float = Field(0.001, ge=0, le=MANY, description="a token over length_limit")
    length_limit: Count = Field(512, description="tokens")
    coherence_level: Literal["trajectory", "question"] = Field(
        "trajectory", description="question: s_wm the same for all arms"
    )
    math_verify: bool = Field(True, description="second opinion on every number; disagreements are reported")


class Pairs(Section):
    """Which trajectories make a preference pair."""

    policy: Literal["capped", "all", "best_worst"] = Field(
        "capped", description="capped: per_question of them, hard ones first; all; or the best against the worst"
    )
    per_question: int = Field(4, ge=1, le=1_000_000, description="pairs a question at most, for capped")
    coherence_share: float = Field(0.0, ge=0, le=1, description="share of coherence pairs at most; 0 makes none")
    max_pairs: Count | None = Field(
        None,
        description="pairs in all at most, drawn so that each question's first goes before any second; the same number for"
        " several recipes trains them on as many pairs and steps. null takes all",
    )
    min_margin: float = Field(0.05, ge=0, le=MANY, description="reward difference at least")
    max_similarity: float = Field(0.95, gt=0, le=1, description="drop pairs of texts more alike than this")
    max_length_ratio: float = Field(3.0, ge=1, le=MANY, description="longer over shorter side, in tokens")
    truncated: Literal["drop", "reject"] = Field(
        "drop",
        description="trajectories cut off at max_new_tokens: drop leaves them out; reject lets them be rejected sides",
    )
    train_prompt: Literal["arm", "canonical"] = Field(
        "arm", description="prompt of the chosen's style, or without instruction"
    )
    same_style: bool = Field(True, description="both sides from the same style")
    calculations: int = Field(
        0,
        ge=0,
        le=1_000_000,
        description="pairs of a wrong sum put right and as written, a question at most; 0 makes none",
    )


class RejectionSampling(Training):
    """Rejection-sampling fine-tuning: SFT goes on with the policy's own correct trajectories."""

    per_question: int = Field(4, ge=1, le=1_000_000, description="trajectories a question at most")
    max_samples: Count | None = Field(
        None,
        description="trajectories in all at most, drawn so that each question's first goes before any second; null takes all",
    )
    max_similarity: float = Field(0.95, gt=0, le=1, description="leave out texts more alike than this to one taken")
    train_prompt: Literal["arm", "canonical"] = Field(
        "arm", description="prompt of the trajectory's style, or without instruction"
    )


class Dpo(Training):
    """Direct preference optimisation with LoRA on the merged policy."""

    loss_type: list[Loss] = Field(["sigmoid", "sft"], min_length=1, description="as TRL names them")
    loss_weights: list[Annotated[float, Field(ge=0, le=MANY)]] = Field(
        default_factory=lambda: [1.0, 1.0], min_length=1, description="of each loss; one above 0 at least"
    )
    beta: float = Field(0.1, gt=0, le=MANY, description="how far the policy may leave the reference; larger is nearer")
    alarm_logps_drop: float = Field(
        10.0,
        gt=0,
        le=MANY,
        description="alarm when the chosen log-probability falls by more nats below its start than this",
    )
    learning_rate: float = Field(5e-6, gt=0, le=1, description="the highest of the schedule")
    per_device_batch_size: int = Field(
        4, ge=1, le=1_000_000, description="pairs a GPU and forward pass; lower it on out-of-memory"
    )
    gradient_checkpointing: bool = Field(True, description="less memory, a third more time")

    @model_validator(mode="after")
    def _weights(self) -> "Dpo":
        if len(self.loss_type) != len(self.loss_weights):
            raise ValueError(f"loss_type has {len(self.loss_type)} entries, loss_weights {len(self.loss_weights)}")
        if len(set(self.loss_type)) != len(self.loss_type):
            raise ValueError("loss_type names a loss twice; give it once, with the sum of the weights")
        if not any(self.loss_weights):
            raise ValueError("loss_weights are all 0, so that nothing would be learnt; raise one")
        return self


class Evaluate(Section):
    """Evaluation of base, SFT and each round."""

    k: int = Field(8, ge=1, le=100_000, description="samples a question")
    temperature: float = Field(0.7, gt=0, le=5, description="of the k samples; the greedy answer is always taken too")
    top_p: float = Field(1.0, gt=0, le=1, description="nucleus sampling; 1.0 takes all tokens")
    max_new_tokens: int = Field(512, ge=1, le=1_000_000, description="tokens of an answer at most")
    n_questions: Count | None = Field(None, description="the first n evaluation questions; null takes all")
    styles: list[str] = Field(
        default_factory=lambda: ["plain"], min_length=1, description="prompts, one a question by hash of its id"
    )
    batch_invariant: bool = Field(False, description="VLLM_BATCH_INVARIANT=1: same tokens whatever the batch, slower")


class Report(Section):
    """The evaluation report."""

    title: str = Field("Preference optimisation report", description="heading of the page")
    level: float = Field(0.95, gt=0.5, lt=1, description="confidence level of the intervals")
    n_boot: int = Field(10_000, ge=100, le=10_000_000, description="bootstrap resamples")
    gpu_hour_usd: float = Field(1.25, ge=0, le=MANY, description="price of one GPU for an hour")
    gallery: int = Field(5, ge=0, le=1000, description="flipped answers shown in each direction")


class OutsideCheck(Section):
    """Our figures beside those of EleutherAI's lm-evaluation-harness (`snakemake outside_check`)."""

    models: list[ModelName] | None = Field(
        None, min_length=1, description="models to check, say [sft, round1]; null takes the last round's"
    )
    sets: list[Text] | None = Field(
        None,
        min_length=1,
        description="evaluation sets to check; null takes those whose verifier is number or latex, which the harness grades",
    )
    limit: Count | None = Field(None, description="the first n questions of a set; null takes those of `evaluate`")


class Tracking(Section):
    """Where trainings and evaluations are logged besides; what a job makes does not depend on it."""

    to: list[Tracker] = Field(
        default_factory=list, description="trackers, each a package of its own that is installed; empty: none"
    )
    project: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")] = Field(
        "regime-w", description="project, or experiment, that the runs stand in"
    )

    @model_validator(mode="after")
    def _once(self) -> "Tracking":
        if len(set(self.to)) != len(self.to):
            raise ValueError("to names a tracker twice; name it once")
        return self


class Publish(Section):
    """What `snakemake publish` sends to the hub."""

    hub_id: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,95}/[A-Za-z0-9][A-Za-z0-9_.-]{0,88}$",
        description="OWNER/NAME of the model's repository; adapters go to OWNER/NAME-lora, pairs to OWNER/NAME-pairs",
    )
    private: bool = Field(True, description="whether the repositories are to be private")
    model: Annotated[str, Field(pattern=r"^(sft|round[1-9][0-9]?)$")] | None = Field(
        None, description="sft or a round, say round2; null takes the last round"
    )
    pairs: bool = Field(True, description="publish what the rounds trained on, as a data set")

    @model_validator(mode="after")
    def _repository(self) -> "Publish":
        name = self.hub_id or ""
        if "--" in name or ".." in name or name.endswith((".git", "-", ".")):
            raise ValueError(f"hub_id: {name!r} is no name on the hub: no -- or .., no -, . or .git at its end")
        return self


class Resources(Section):
    """GPUs, as the plan counts them; what a job makes does not depend on it."""

    jobs_per_gpu: int = Field(
        1,
        ge=1,
        le=64,
        description="jobs of one GPU that share it, each with its part of the memory, where a model is so small that one"
        " leaves it idle",
    )
    gpus_per_node: int = Field(8, ge=1, le=1024, description="GPUs of a machine: no job takes more")


class Benchmark(Section):
    """The benchmark: the pipeline's own jobs on a model of random weights (configs/benchmark.yaml)."""

    shape: Shape = Field("abel", description="shape of the model of random weights")
    small_shape: Shape = Field("smollm2", description="shape of the model that several engines a GPU are measured with")
    modes: list[Mode] = Field(
        default_factory=lambda: list(MODES),
        min_length=1,
        description="ways of generating to measure; those that need more GPUs are left out",
    )
    sample_trajectories: int = Field(16, ge=1, le=MANY, description="sample of one_at_a_time")
    sample_questions: int = Field(12, ge=1, le=MANY, description="sample of one_question")
    full_questions: int = Field(7473, ge=1, le=MANY, description="questions of full and full_shards")
    small_questions: int = Field(2200, ge=1, le=MANY, description="questions of small and small_one_engine")
    question_tokens: tuple[Count, Count] = Field(
        (70, 110), description="words of random text a question, a token each: at least and at most"
    )
    pairs: int = Field(1500, ge=1, le=MANY, description="preference pairs for DPO")
    pair_tokens: int = Field(
        200, ge=2, le=1_000_000, description="mean tokens of a pair's completions, beside the prompt"
    )
    models: list[ModelName] = Field(
        default_factory=lambda: ["round1"], min_length=1, description="models that are evaluated"
    )
    peak_tflops: float | None = Field(
        None, gt=0, le=MANY, description="dense bfloat16 peak of the GPU; null takes the data sheet's of known GPUs"
    )
    without_gpu: dict[str, Any] = Field(
        default_factory=dict, description="a further overlay over the config, taken on a machine without GPU"
    )

    @model_validator(mode="after")
    def _lengths(self) -> "Benchmark":
        if self.question_tokens[0] > self.question_tokens[1]:
            raise ValueError(
                f"question_tokens: {self.question_tokens[0]} at least and {self.question_tokens[1]} at most"
            )
        return self


class StudyEvaluation(Section):
    """Evaluation of recipes on the held-out questions, where it differs from `evaluate`."""

    k: int = Field(8, ge=1, le=100_000, description="samples a question")
    n_questions: Count | None = Field(None, description="the first n held-out questions; null takes all")


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
    seeds: Annotated[int, Field(ge=1, le=100)] | Annotated[list[Seed], Field(min_length=1, max_length=100)] = Field(
        1,
        description="trainings of each recipe, from the same questions, rollouts and pairs, with the seeds `seed`,"
        " `seed` + 1, ...; or these seeds. The report's tests are then over seeds and questions, else over questions alone",
    )
    only: list[str] | None = Field(None, description="these recipes, baselines and reference alone; null takes all")
    chosen: str | None = Field(
        None, description="recipe to read on `eval`; null takes the best one on the held-out questions"
    )
    evaluate: StudyEvaluation = Field(
        default_factory=lambda: StudyEvaluation(), description="how the held-out questions are answered"
    )
    n_boot: int = Field(
        100_000,
        ge=100,
        le=10_000_000,
        description="bootstrap resamples; p values below 2 / n_boot times the comparisons cannot be seen",
    )

    @model_validator(mode="after")
    def _known(self) -> "Study":
        named = {"baselines": self.baselines, "reference": [self.reference], "only": self.only or []}
        for where, names in (named | {"chosen": [self.chosen] if self.chosen else []}).items():
            if unknown := sorted(set(names) - set(self.recipes)):
                raise ValueError(f"{where}: {unknown[0]!r} is not under recipes; known are {sorted(self.recipes)}")
        if isinstance(self.seeds, list) and len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds names a seed twice; name each once")
        if self.chosen and self.only is not None and self.chosen not in {*self.only, *self.baselines, self.reference}:
            raise ValueError(f"chosen: {self.chosen!r} is not among `only`")
        return self


def _styles() -> dict[str, str]:
    return {
        "wolfram": "Solve the problem precisely and linearly. Write every step explicitly.",
        "maudlin": "Solve the problem reflectively. Name the steps that might be fragile and check them.",
    }


def _arms() -> list[Arm]:
    return [
        Arm(name=f"{style}_t0{tenths}", style=style, temperature=tenths / 10)
        for style in _styles()
        for tenths in (2, 3, 4, 5)
    ]


# What an evaluation set may have otherwise.
OF_SET: dict[str, type[Section]] = {"task": Task, "prompt": Prompt, "evaluate": Evaluate}


class Config(Section):
    """A run of the pipeline."""

    run: str = Field(pattern=NAME, description="name of the run; its outputs stand in folders of that name")
    seed: Seed = Field(0, description="base seed of everything random")
    method: Method = Field(
        "dpo",
        description="how a round trains; rejection_sampling_then_dpo: the first by rejection sampling, the others by DPO;"
        " none: not at all, as rounds: 0",
    )
    rounds: int = Field(
        1,
        ge=0,
        le=99,
        description="rounds of rollouts and training; round r+1 samples from round r's model; 0 evaluates base and SFT alone",
    )
    questions: Questions = Field(description="questions to learn, to sample and to be judged by", **GIVEN)
    base_model: BaseModelSource = Field(description="the model that is trained", **GIVEN)
    prompt: Prompt = Field(default_factory=lambda: Prompt(), description="how a question is put")
    task: Task = Field(default_factory=lambda: Task(), description="what an answer is, and when it is right")
    styles: dict[str, Text] = Field(
        default_factory=_styles, description="instruction of each style, before the prompt; plain is the prompt without"
    )
    arms: list[Arm] = Field(
        default_factory=_arms, min_length=2, max_length=1000, description="one trajectory a question each"
    )
    sft: Sft = Field(default_factory=lambda: Sft(), description="supervised fine-tuning")
    start: Start | None = Field(
        None, description="another tool's rollouts or pairs, in place of round 1's own; null: none"
    )
    merge: Merge = Field(default_factory=lambda: Merge(), description="adapters into their base")
    generate: Generate = Field(default_factory=lambda: Generate(), description="rollouts")
    engine: Engine = Field(default_factory=lambda: Engine(), description="what generates")
    labels: Labels = Field(default_factory=lambda: Labels(), description="what counts as right in rollouts")
    coherence: Coherence = Field(default_factory=lambda: Coherence(), description="weights of agreement")
    reward: Reward = Field(default_factory=lambda: Reward(), description="weights of correctness, coherence and length")
    pairs: Pairs = Field(default_factory=lambda: Pairs(), description="preference pairs")
    rejection_sampling: RejectionSampling = Field(
        default_factory=lambda: RejectionSampling(), description="the other way to train a round"
    )
    dpo: Dpo = Field(default_factory=lambda: Dpo(), description="direct preference optimisation")
    evaluate: Evaluate = Field(default_factory=lambda: Evaluate(), description="answers to the evaluation questions")
    report: Report = Field(default_factory=lambda: Report(), description="what the report says")
    outside_check: OutsideCheck = Field(
        default_factory=lambda: OutsideCheck(), description="the same answers in the hands of another tool"
    )
    resources: Resources = Field(default_factory=lambda: Resources(), description="GPUs of a machine and of a job")
    tracking: Tracking = Field(
        default_factory=lambda: Tracking(), description="where trainings and evaluations are logged besides"
    )
    publish: Publish = Field(
        default_factory=lambda: Publish(), description="what goes to the hub, when it is asked for"
    )
    benchmark: Benchmark | None = Field(None, description="the benchmark's own settings; null for any other run")
    study: Study | None = Field(None, description="recipes to compare; null where there is nothing to compare")

    @model_validator(mode="after")
    def _consistent(self) -> "Config":
        if problems := list(_contradictions(self)):
            raise ValueError("\n".join(problems))
        return self


def _contradictions(config: Config) -> Iterator[str]:
    """What keys say against each other, a line each."""
    names = [arm.name for arm in config.arms]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        yield f"arms: the name {twice[0]!r} stands twice; give each arm a name of its own"
    if "plain" in config.styles:
        yield "styles: plain is the prompt without an instruction; give the style another name"
    known = {"plain", *config.styles}
    for where, used in (
        ("arms", [arm.style for arm in config.arms]),
        ("sft.styles", config.sft.styles),
        ("evaluate.styles", config.evaluate.styles),
    ):
        if unknown := sorted(set(used) - known):
            yield f"{where}: style {unknown[0]!r} is not under styles; known are {sorted(known)}"
    if config.study and not config.questions.heldout_fraction:
        yield "study: recipes are ranked on held-out questions; set questions.heldout_fraction above 0"
    if config.sft.method == "none" and config.sft.adapter:
        yield "sft: method none and an adapter; take one of them out"
    if config.start and not (config.rounds and config.method != "none"):
        yield "start: no round begins with it; set rounds: 1 or more, and a method"
    if config.start and config.start.preferences and config.method.startswith("rejection_sampling"):
        yield f"start.preferences: round 1 trains by {config.method}, which takes no pairs; set method: dpo"
    yield from _form_problems(config)
    for name in config.questions.eval:
        yield from (f"questions.eval.{name}.{line}" for line in _overlay_problems(config, name))
    if config.method == "rejection_sampling_then_dpo" and config.rounds < 2:
        yield "method rejection_sampling_then_dpo needs rounds: 2 or more, the first is rejection sampling"
    for where, part in (("sft.part", config.sft.part), ("generate.part", config.generate.part)):
        if part == "rollouts" and not config.questions.rollout_fraction:
            yield f"{where}: no question is in the part rollouts; set questions.rollout_fraction above 0, or {where}: all"
    yield from _outside_problems(config)
    if config.reward.correct == "score" and ".py:" not in config.task.verifier:
        yield f"reward.correct: {config.task.verifier} gives no score; set it to correct, or task.verifier to a function"
    yield from _nothing_to_publish(config)
    if config.reward.correct == "score" and (config.labels.source != "gold" or config.labels.noise):
        yield "reward.correct: a label without gold has no score; set it to correct, or labels.source: gold"
    if config.labels.voted == "cross_style" and len({arm.style for arm in config.arms}) < 2:
        yield "labels: cross_style needs arms of two styles; add some of another style, or take vote"
    if config.labels.weight == "margin" and (
        sorted_losses := sorted({"aot", "aot_unpaired"} & set(config.dpo.loss_type))
    ):
        yield f"labels.weight margin: the loss {sorted_losses[0]} knows no single pairs; take another loss, or weight: none"
    positions = config.base_model.tiny.max_position_embeddings
    for where, most in (("generate", config.generate.max_new_tokens), ("evaluate", config.evaluate.max_new_tokens)):
        if config.base_model.source == "tiny" and not config.benchmark and most >= positions:
            yield (
                f"{where}.max_new_tokens is {most}, the tiny model takes {positions} tokens of prompt and completion"
                " (base_model.tiny.max_position_embeddings); lower it"
            )
    try:
        check_weights(
            alpha=config.reward.alpha,
            beta=config.reward.beta,
            lambda_length=config.reward.lambda_length,
            length_limit=config.reward.length_limit,
            max_tokens=config.generate.max_new_tokens,
        )
    except ValueError as error:
        yield str(error)


def _trained_models(config: Config) -> list[str]:
    """The models that the run trains, in their order."""
    rounds = 0 if config.method == "none" else config.rounds
    return [*(["sft"] if config.sft.method != "none" else []), *(f"round{number + 1}" for number in range(rounds))]


def _outside_problems(config: Config) -> Iterator[str]:
    """What `outside_check` names that is not there, or that the harness cannot grade."""
    models = ["base", *_trained_models(config)]
    if unknown := [name for name in config.outside_check.models or [] if name not in models]:
        yield f"outside_check.models: the run has no model {unknown[0]!r}; it has {', '.join(models)}"
    for name in config.outside_check.sets or []:
        own = config.questions.eval.get(name)
        if own is None:
            yield f"outside_check.sets: {name!r} is not under questions.eval; known are {sorted(config.questions.eval)}"
        elif (verifier := (own.task or {}).get("verifier", config.task.verifier)) not in TASKS:
            yield (
                f"outside_check.sets: {name} is graded by {verifier}, the harness grades {' and '.join(TASKS)}"
                " alone; take it out"
            )


def _nothing_to_publish(config: Config) -> Iterator[str]:
    """A model to publish that this run does not train."""
    trained = _trained_models(config)
    if config.publish.model and config.publish.model not in trained:
        yield f"publish.model: this run trains no {config.publish.model}; it trains {', '.join(trained) or 'nothing'}"
    elif config.publish.hub_id and not trained:
        yield "publish.hub_id: this run trains nothing, so that there is no model to publish; take it out"


def of_set(config: dict[str, Any], name: str) -> dict[str, Any]:
    """A checked configuration as it is for one evaluation set: `task`, `prompt` and `evaluate` with what differs there."""
    if name == HELD_OUT:
        study = config["study"]["evaluate"] if config["study"] else {}
        return config | {"evaluate": config["evaluate"] | study}
    return config | {key: _overlaid(config[key], own, key) for key, own in overlays(config["questions"]["eval"][name])}


def overlays(own: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The sections that differ for an evaluation set, and in what."""
    return [(key, own[key]) for key in OF_SET if own[key] is not None]


def _overlaid(section: dict[str, Any], own: dict[str, Any], key: str) -> dict[str, Any]:
    below = dict(section)
    if key == "prompt" and own.get("format", section["format"]) != section["format"]:
        below |= {"stop": None, "system": None, "template_kwargs": {}}  # those of the other format
    return OF_SET[key].model_validate_json(json.dumps(below | own), strict=False).model_dump(mode="json")


def _form_problems(config: Config) -> Iterator[str]:
    """The generator's choices where the verifier reads numbers alone."""
    train, sets = config.questions.train, config.questions.eval
    several = train if isinstance(train, list) else [train]
    asked = [("train", source.form, config.task.verifier) for source in several]
    asked += [
        (f"eval.{name}", own.form, (own.task or {}).get("verifier", config.task.verifier)) for name, own in sets.items()
    ]
    for where, form, verifier in asked:
        if form == "choice" and verifier == "number":
            yield f"questions.{where}: form choice has letters for answers, which number does not read; set task.verifier: choice"


def _overlay_problems(config: Config, name: str) -> Iterator[str]:
    """What is wrong with the overlays of an evaluation set."""
    for key, values in overlays(config.questions.eval[name].model_dump(mode="json")):
        try:
            found = _overlaid(getattr(config, key).model_dump(mode="json"), values, key)
        except ValidationError as error:
            for each in error.errors(include_url=False):
                loc = (key, *each["loc"])
                yield from (f"{'.'.join(map(str, loc))}: {line}" for line in _sentences(each, loc))
            continue
        if unknown := sorted(set(found.get("styles", [])) - {"plain", *config.styles}):
            yield f"{key}.styles: style {unknown[0]!r} is not under styles; known are {sorted({'plain', *config.styles})}"


def load(raw: dict[str, Any], origins: Mapping[tuple[str, ...], str] | None = None) -> dict[str, Any]:
    """Check a raw configuration, fill its defaults in; UserError with a line of its own for each problem.

    `origins` names the file that a value comes from, by its path (regime_w/config/files.py).
    """
    try:
        # Through JSON, so that 1 and 1.0 reach the rules as one value.
        text = json.dumps(raw, default=_date, allow_nan=False)
        return Config.model_validate_json(text, strict=False).model_dump(mode="json")
    except ValidationError as error:
        problems = list(_lines(error, origins or {}))
        more = [f"config: {len(problems) - SHOWN} more problems"] if len(problems) > SHOWN else []
        raise UserError(*(f"{line:.400}" for line in problems[:SHOWN]), *more) from None
    except (TypeError, ValueError, RecursionError) as error:
        raise UserError(f"config: holds what JSON cannot ({error}); see {REFERENCE} for the keys") from None


def schema() -> dict[str, Any]:
    """JSON schema of a whole configuration."""
    whole = Config.model_json_schema()
    # What GIVEN checks though nothing is said of it is needed.
    for section, needed in ((whole, ["questions", "base_model"]), (whole["$defs"]["Questions"], ["train"])):
        section["required"] = [*section.get("required", []), *needed]
    return whole


def file_schema() -> dict[str, Any]:
    """JSON schema of a config file, which says as little as it likes, and what it extends."""
    whole = schema()
    for section in (whole, *(part for name, part in whole["$defs"].items() if name != "Arm")):
        section.pop("required", None)
    sets = whole["$defs"]["Questions"]["properties"]["eval"]["patternProperties"]
    for name, own in sets.items():
        sets[name] = {"anyOf": [own, {"type": "null"}]}  # which takes it out
    whole["properties"] = {
        "extends": {
            "description": "config files that this one is laid over, from its own folder or the repository",
            "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
        }
    } | whole["properties"]
    return whole


def section_of(annotation: Any, in_list: bool = False) -> type[Section] | None:
    """The section that a field's type is, or may be, also one of those in a mapping by name; of a list with `in_list`."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    if get_origin(annotation) is list and not in_list:
        return None
    found = (section_of(each, in_list) for each in get_args(annotation))
    return next((each for each in found if each), None)


def by_name(annotation: Any) -> bool:
    """Whether a field holds sections by a name that the config gives."""
    return get_origin(annotation) is dict and section_of(annotation) is not None


def _date(value: Any) -> str:
    """YAML reads a bare 2026-01-31 as a date; here it is a text."""
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(f"a value of type {type(value).__name__}")


def _lines(error: ValidationError, origins: Mapping[tuple[str, ...], str]) -> Iterator[str]:
    """A line for each thing that pydantic objects to; what it says of each type that a value may have is one."""
    alternatives: dict[tuple[Any, ...], list[str]] = {}
    found: list[tuple[tuple[Any, ...], list[str]]] = []
    for each in error.errors(include_url=False):
        own = tuple(part for part in each["loc"] if part not in (ONE, SEVERAL))
        loc = _without_type(own)
        said = _sentences(each, loc)
        if loc == own:
            found += [(loc, [line]) for line in said]
        elif loc in alternatives:
            alternatives[loc] += said
        else:
            found.append((loc, alternatives.setdefault(loc, said)))
    for loc, said in found:
        place = ".".join(f"{part:.60}" if isinstance(part, str) else str(part) for part in loc)
        file = next((origins[loc[:end]] for end in range(len(loc), 0, -1) if loc[:end] in origins), "config")
        yield f"{file:.200}: {f'{place}: ' if place else ''}{'; or '.join(said)}"


def _sentences(error: Any, loc: tuple[Any, ...]) -> list[str]:
    if error["type"] == "extra_forbidden":
        return [f"no such key{_nearest(loc)}"]
    if error["type"] == "missing":
        return [f"not set; {MISSING.get('.'.join(map(str, loc))) or _description(loc)}"]
    if error["type"] == "value_error":
        return str(error["ctx"]["error"]).splitlines()
    return [f"{error['msg']}, found {error['input']!r:.80}"]


def _without_type(loc: tuple[Any, ...]) -> tuple[Any, ...]:
    """The place of a value that may have several types, where pydantic goes on with the one that it tried."""
    model: type[Section] | None = Config
    named = False
    for end, part in enumerate(loc[:-1], 1):
        if isinstance(part, int) or named:  # of a list's entries, of a mapping's
            named = False
            continue
        field = model.model_fields.get(part) if model else None
        if field is None:
            break
        types = [each for each in get_args(field.annotation) if each is not type(None)]
        if get_origin(field.annotation) in (Union, UnionType) and len(types) > 1 and not _tagged(types):
            return loc[:end]
        model, named = section_of(field.annotation, in_list=True), by_name(field.annotation)
    return loc


def _tagged(types: list[Any]) -> bool:
    """Whether a value's kind says which of the types it has, so that pydantic tries that one alone."""
    return all(any(isinstance(each, Tag) for each in get_args(kind)[1:]) for kind in types)


def _section_at(loc: tuple[Any, ...]) -> type[Section] | None:
    model: type[Section] | None = Config
    named = False
    for part in loc:
        if isinstance(part, int) or named:  # of a list's entries, of a mapping's
            named = False
            continue
        field = model.model_fields.get(part) if model else None
        model = section_of(field.annotation, in_list=True) if field else None
        named = field is not None and by_name(field.annotation)
    return model


def _nearest(loc: tuple[Any, ...]) -> str:
    section = _section_at(loc[:-1])
    close = difflib.get_close_matches(str(loc[-1]), section.model_fields if section else {}, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; see {REFERENCE} for the keys"


def _description(loc: tuple[Any, ...]) -> str:
    section = _section_at(loc[:-1])
    return str(section.model_fields[loc[-1]].description if section else f"see {REFERENCE}")


def main() -> None:
    print(json.dumps(file_schema(), indent=2))


if __name__ == "__main__":
    run(main)
