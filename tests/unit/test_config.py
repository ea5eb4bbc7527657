"""The configuration: one source for schema, defaults, reference and checks; what a library would refuse is refused here."""

import inspect
import json
import re
import typing
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers import ROOT, demo_config
from jsonschema import Draft202012Validator

from regime_w.config import plan, reference
from regime_w.config.files import configured, laid_over, layers_of, leaves, merged
from regime_w.config.plan import auto_shards, problems_of, shards_for
from regime_w.config.schema import SYNTHETIC_SPLITS, Loss, Scheduler, Vllm, file_schema, load, of_set, schema
from regime_w.runtime.errors import UserError

CONFIGS = [ROOT / "config.yaml", *sorted((ROOT / "configs").glob("*.yaml"))]
SHARED = {"demo.yaml", "gsm8k.yaml"}  # extended by runs, and none themselves
RUNS = [path for path in CONFIGS if path.name not in SHARED]
SET = {"source": "synthetic", "split": "eval", "n": 4}
BARE = {
    "run": "mine",
    "base_model": {"source": "hub", "hub_id": "some/model"},
    "questions": {
        "train": {"source": "hub", "hub_id": "a/b"},
        "eval": {"platinum": {"source": "hub", "hub_id": "a/b"}},
    },
}


def changed(**dotted: Any) -> dict[str, Any]:
    """The demo's configuration with values at dotted paths, __ for the dot, not checked yet."""
    whole = demo_config()
    for path, value in dotted.items():
        *parents, key = path.split("__")
        section = whole
        for parent in parents:
            section = section[parent]
        section[key] = value
    return whole


def refusal(raw: dict[str, Any]) -> list[str]:
    with pytest.raises(UserError) as caught:
        load(raw)
    return list(caught.value.lines)


# One source


def test_the_committed_schema_is_the_models() -> None:
    """Regenerate with: python -m regime_w.config.schema > config.schema.json"""
    assert json.loads((ROOT / "config.schema.json").read_text()) == file_schema()
    Draft202012Validator.check_schema(schema())


def test_the_committed_reference_is_the_models() -> None:
    """Regenerate with: python -m regime_w.config.reference > docs/reference/config.md"""
    page = (ROOT / "docs/reference/config.md").read_text()
    assert page == reference.page()
    for key in reference.all_keys():
        assert f"| `{key}` |" in page


def test_every_key_is_described_and_every_number_has_bounds() -> None:
    known = schema()
    for name, section in {"Config": known, **known["$defs"]}.items():
        for key, part in section["properties"].items():
            assert part.get("description"), f"{name}.{key}"
            for each in (part, *part.get("anyOf", ()), *([part["items"]] if "items" in part else [])):
                if each.get("type") in ("integer", "number"):
                    low, high = ({f"{side}imum", f"exclusive{side.title()}imum"} & set(each) for side in ("min", "max"))
                    assert low, f"{name}.{key}"
                    assert high, f"{name}.{key}"


def test_who_sets_a_key_is_said_of_keys_that_there_are() -> None:
    assert set(reference.all_keys()) >= reference.MUST | reference.TUNE
    assert not reference.MUST & reference.TUNE


def test_the_tour_in_config_yaml_shows_the_keys_that_people_set_with_their_defaults() -> None:
    text = (ROOT / "config.yaml").read_text()
    parts = [
        yaml.safe_load("".join(line[1:] for line in part.splitlines(True) if re.match(r"#[^ #\n]|#  ", line)))
        for part in re.split(r"^# (?:You must|You may|For experts).*$", text, flags=re.MULTILINE)[1:]
    ]
    must, tune, expert = (dict(leaves(part)) for part in parts)
    known = {tuple(key.split(".")) for key in reference.all_keys()}

    def dotted(found: dict[tuple[str, ...], Any]) -> set[str]:
        """Keys of the schema: `styles` and not its entries, a star for a name that the config gives."""
        keys = set()
        for path in found:
            starred = ("questions", "eval", "*", *path[3:]) if path[:2] == ("questions", "eval") else path
            keys.add(next(".".join(starred[:end]) for end in range(1, 9) if starred[:end] in known))
        return keys

    assert dotted(must) == reference.MUST
    assert dotted(tune) == reference.TUNE
    expert = {path: value for path, value in expert.items() if path[0] not in ("study", "benchmark")}
    assert not dotted(expert) & (reference.MUST | reference.TUNE)
    for part in parts[1:]:
        shown = {key: value for key, value in part.items() if key not in ("study", "benchmark", "start")}
        assert load(laid_over(BARE, shown)) == load(BARE)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_config_files_fit_their_schema(path: Path) -> None:
    Draft202012Validator(file_schema()).validate(yaml.safe_load(path.read_text()))


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.name)
def test_a_run_has_defaults_and_what_its_own_files_say(path: Path) -> None:
    layers, whole = configured(layers_of([path]), gpus=1)
    written = dict(leaves(merged(layers)))
    default = {key: None if key[-1] == "hub_id" else value for key, value in leaves(load(BARE))}
    for key, value in leaves(whole):
        if key == ("prompt", "stop"):  # follows from the format, where it is not set
            continue
        usual = ("questions", "eval", "platinum", *key[3:]) if key[:2] == ("questions", "eval") else key
        if usual not in default or value != default[usual]:
            place = next((key[:end] for end in range(len(key), 0, -1) if key[:end] in written), None)
            section = whole[key[0]] if key[0] in ("benchmark", "study") else None
            assert place is not None or section is not None, key
            if place == key:
                assert json.dumps(written[key]) == json.dumps(value) or float(written[key]) == value, key
    if path.name != "config.yaml" and "demo" not in path.name:
        assert not any("demo" in layer.name or layer.name == "config.yaml" for layer in layers)
    assert whole["base_model"]["trust_remote_code"] is False


def test_what_runs_on_gsm8k_share_stands_once() -> None:
    texts = {path.name: path.read_text() for path in CONFIGS}
    assert [name for name, text in texts.items() if "train-00167" in text] == ["gsm8k.yaml"]
    for name in ("abel", "smollm2", "smollm2_no_variants"):
        _, whole = configured(layers_of([ROOT / f"configs/{name}.yaml"]), gpus=1)
        assert len(whole["questions"]["train"]["corrections"]) == 8


def test_defaults_are_those_of_a_real_model() -> None:
    whole = load(BARE)
    assert 1e-4 <= whole["sft"]["learning_rate"] <= 2e-4
    assert 5e-6 <= whole["dpo"]["learning_rate"] <= 5e-5
    assert whole["dpo"]["beta"] == 0.1
    assert whole["generate"]["max_new_tokens"] == whole["evaluate"]["max_new_tokens"] == 512
    assert [(arm["style"], arm["temperature"]) for arm in whole["arms"]] == [
        (style, temperature) for style in ("wolfram", "maudlin") for temperature in (0.2, 0.3, 0.4, 0.5)
    ]
    assert all(text.endswith(".") and len(text.split()) > 8 for text in whole["styles"].values())


def test_an_evaluation_set_differs_in_what_it_says() -> None:
    """Its own task, prompt and evaluation over the run's; what belongs to another prompt format goes."""
    sets = {
        "platinum": SET,
        "aqua": SET | {"task": {"verifier": "choice"}, "evaluate": {"k": 32}, "prompt": {"format": "chat"}},
    }
    whole = load(BARE | {"questions": BARE["questions"] | {"eval": sets}, "prompt": {"stop": ["END"]}})
    assert list(whole["questions"]["eval"]) == ["platinum", "aqua"]
    assert of_set(whole, "platinum") == whole
    own = of_set(whole, "aqua")
    assert own["task"] == whole["task"] | {"verifier": "choice"}
    assert own["evaluate"] == whole["evaluate"] | {"k": 32}
    assert (own["prompt"]["format"], own["prompt"]["stop"]) == ("chat", [])
    assert {key for key in own if own[key] != whole[key]} == {"task", "evaluate", "prompt"}


def test_held_out_questions_are_asked_as_the_study_says() -> None:
    study = {"recipes": {"a": {}}, "baselines": ["a"], "reference": "a", "evaluate": {"k": 3}}
    whole = load(changed(study=study))
    assert of_set(whole, "heldout")["evaluate"] == whole["evaluate"] | {"k": 3, "n_questions": None}


def test_files_of_questions_are_inputs(tmp_path: Path) -> None:
    (tmp_path / "set/data").mkdir(parents=True)
    for name in ("set/data/b.parquet", "set/README.md", "q.csv", "right.csv"):
        (tmp_path / name).touch()
    sources = {
        "a": {"source": "file", "path": f"{tmp_path}/set", "corrections": {}},
        "b": {"source": "file", "path": f"{tmp_path}/q.csv", "corrections": f"{tmp_path}/right.csv"},
        "c": {"source": "hub", "path": None, "corrections": {}},
    }
    names = ["set/README.md", "set/data/b.parquet", "q.csv", "right.csv"]
    assert plan.inputs_of(sources) == [f"{tmp_path}/{name}" for name in names]


def test_a_run_without_rounds_is_a_run() -> None:
    assert load(BARE | {"rounds": 0})["rounds"] == 0


# What is refused


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("run", "config: run: not set; name the run"),
        ("base_model", "config: base_model.source: not set; name a model: hub with hub_id"),
        ("questions", "config: questions.train.source: not set; name training questions"),
    ],
)
def test_a_run_that_leaves_out_what_it_must_say(missing: str, message: str) -> None:
    lines = refusal({key: value for key, value in BARE.items() if key != missing})
    assert lines[0].startswith(message)
    assert len(lines) == (2 if missing == "questions" else 1)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"sft__scheduler": "cosin"}, "sft.scheduler: Input should be 'linear', 'cosine'"),
    ({"dpo__scheduler": "cosine_with_min_lr"}, "dpo.scheduler: "),
    ({"dpo__scheduler": "reduce_lr_on_plateau"}, "dpo.scheduler: "),
    ({"sft__scheduler": "constant"}, "sft: scheduler: constant has no warm-up"),
    ({"dpo__scheduler": "polynomial", "dpo__learning_rate": 1e-8}, "dpo: scheduler: polynomial ends at 1e-7"),
    ({"sft__lora__target_modules": []}, "sft.lora.target_modules"),
    ({"sft__lora__target_modules": [""]}, "sft.lora.target_modules"),
    ({"sft__styles": []}, "sft.styles: "),
    ({"evaluate__styles": []}, "evaluate.styles: "),
    ({"sft__styles": ["plane"]}, "sft.styles: style 'plane' is not under styles"),
    ({"styles": {"wolfram": "", "maudlin": "x"}}, "styles.wolfram: "),
    ({"styles": {"wolfram": "x", "maudlin": "x", "plain": "x"}}, "styles: plain is the prompt without"),
    ({"prompt__stop": [""]}, "prompt.stop.0: "),
    ({"base_model__tiny__hidden_size": 100, "base_model__tiny__num_heads": 3}, "hidden_size 100 does not go into 3 heads"),
    ({"base_model__tiny__hidden_size": 12, "base_model__tiny__num_heads": 4}, "hidden_size 12 does not go into 4 heads"),
    ({"base_model__tiny__sequence_length": 512}, "sequence_length 512 exceeds max_position_embeddings 256"),
    ({"generate__max_new_tokens": 256}, "generate.max_new_tokens is 256, the tiny model takes 256 tokens"),
    ({"report__n_boot": 10**12}, "report.n_boot: "),
    ({"generate__n_samples": 10**12}, "generate.n_samples: "),
    ({"evaluate__k": 10**9}, "evaluate.k: "),
    ({"dpo__loss_weights": [0, 0]}, "dpo: loss_weights are all 0"),
    ({"dpo__loss_weights": [1.0, -1.0]}, "dpo.loss_weights.1: "),
    ({"dpo__loss_weights": [1.0]}, "loss_type has 2 entries, loss_weights 1"),
    ({"dpo__loss_type": ["sft", "sft"]}, "loss_type names a loss twice"),
    ({"dpo__loss_type": ["sigmoid", "simpo"]}, "dpo.loss_type.1: "),
    ({"engine__vllm__dtype": "bf16"}, "engine.vllm.dtype: "),
    ({"labels__source": "votes"}, "labels.source: Input should be 'gold', 'vote'"),
    ({"labels__min_agreement": 0.5}, "labels: min_agreement is of votes, and nothing is voted on"),
    ({"labels": {"source": "random", "weight": "margin"}}, "labels: weight margin is of votes"),
    ({"labels__filter": "sums"}, "labels: filter says who votes"),
    ({"labels": {"source": "vote", "noise": 0.1}}, "labels: noise turns gold labels, source is vote"),
    ({"labels__source": "cross_style", "arms": [{"name": f"a{n}", "style": "plain", "temperature": 1.0} for n in "12"]},
     "labels: cross_style needs arms of two styles"),
    ({"labels": {"source": "vote", "weight": "margin"}, "dpo__loss_type": ["aot", "sft"]}, "labels.weight margin: the loss aot"),
    ({"sft__part": "rollouts"}, "sft.part: no question is in the part rollouts"),
    ({"generate__part": "rollouts"}, "generate.part: no question is in the part rollouts"),
    ({"questions__train__n": None}, "questions.train: source: synthetic needs n"),
    ({"questions__train__split": "dev"}, "questions.train: split 'dev' is none of the generator's"),
    ({"questions__train": [{"source": "synthetic", "n": 9}, {"source": "file"}]}, "questions.train.1: source: file needs a path"),
    ({"questions__train__form": "choice"}, "questions.train: form choice has letters for answers"),
    ({"questions__eval": {"a": SET | {"form": "choice"}}}, "questions.eval.a: form choice has letters for answers"),
    ({"questions__eval": {"a": {"source": "file", "path": "x.csv", "form": "choice"}}}, "questions.eval.a: form: choice is the"),
    ({"questions__train": []}, "questions.train: List should have at least 1 item"),
    ({"questions__train__columns": {"qestion": "a"}}, "questions.train.columns.qestion: no such key; did you mean 'question'?"),
    ({"questions__train__on_bad_row": "skip"}, "questions.train.on_bad_row: Input should be 'error' or 'drop'"),
    ({"questions__eval": {"source": "hub", "hub_id": "a/b"}}, "questions.eval: give each evaluation set a name"),
    ({"questions__eval": {"generated": None}}, "questions.eval: no evaluation set is left"),
    ({"questions__eval": {"heldout": SET}}, "questions.eval: heldout is the name of the held-out training questions"),
    ({"questions__eval": {"a b": SET}}, "questions.eval.a b.[key]: "),
    ({"questions__eval": {"a": SET | {"hub": 1}}}, "questions.eval.a.hub: no such key; did you mean 'hub_id'?"),
    ({"questions__eval": {"a": SET | {"task": {"verifier": "chois"}}}}, "questions.eval.a.task.verifier: "),
    ({"questions__eval": {"a": SET | {"prompt": {"tempalte": "x"}}}}, "questions.eval.a.prompt.tempalte: no such key; did you"),
    ({"questions__eval": {"a": SET | {"evaluate": {"k": 0}}}}, "questions.eval.a.evaluate.k: "),
    ({"questions__eval": {"a": SET | {"evaluate": {"styles": ["x"]}}}}, "questions.eval.a.evaluate.styles: style 'x' is not"),
    ({"sft__method": "full"}, "sft.method: Input should be 'lora' or 'none'"),
    ({"sft__method": "none", "sft__adapter": "a"}, "sft: method none and an adapter"),
    ({"start": {}}, "start: name one file"),
    ({"start": {"rollouts": "a", "preferences": "b"}}, "start: name one file"),
    ({"start": {"rollouts": "a"}, "rounds": 0}, "start: no round begins with it"),
    ({"start": {"preferences": "a"}, "method": "rejection_sampling"}, "start.preferences: round 1 trains by rejection_sampling"),
    ({"base_model__source": "hub", "base_model__hub_id": "https://huggingface.co/a/b"}, "base_model.hub_id: "),
    ({"dpo__learning_rate": float("inf")}, "holds what JSON cannot"),
    ({"arms": [{"name": "a", "style": "wolfram", "temperature": 0.2}] * 2}, "arms: the name 'a' stands twice"),
    ({"method": "rejection_sampling_then_dpo", "rounds": 1}, "needs rounds: 2 or more"),
    ({"reward__alpha": 0.4}, "a wrong answer could outrank"),
    ({"reward__lambda_length": 1.0, "reward__length_limit": 64}, "a wrong answer could outrank"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "message"), REFUSED, ids=[" ".join(changes) for changes, _ in REFUSED])
def test_what_would_fail_hours_later_is_one_line(changes: dict[str, Any], message: str) -> None:
    (line,) = refusal(changed(**changes))
    assert message in line


def test_each_problem_is_a_line_of_its_own() -> None:
    lines = refusal(changed(dpo__bata=1, sft__epochs="many", report__gallery=-1, evaluate__k=0))
    assert len(lines) == 4
    assert "config: dpo.bata: no such key; did you mean 'beta'?" in lines
    lines = refusal(changed(sft__styles=["a"], sft__part="rollouts", reward__alpha=0.1))
    assert len(lines) == 3


def test_a_problem_names_the_file_that_it_is_in(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("extends: configs/demo.yaml\nrun: mine\nsft: {epochs: many}\narms: [{name: a, style: wolfram}]\n")
    with pytest.raises(UserError) as caught:
        configured(layers_of([path], {"dpo": {"bata": 1}}), gpus=1)
    files = sorted(line.partition(": ")[0] for line in caught.value.lines)
    assert files == ["--config", str(path), str(path)]


def test_whole_and_decimal_numbers_are_one_value() -> None:
    assert json.dumps(load(changed(report__gpu_hour_usd=1))["report"]["gpu_hour_usd"]) == "1.0"


# The lists that stand for a library's


def test_schedulers_are_those_that_transformers_takes_without_more() -> None:
    import torch
    from transformers import get_scheduler
    from transformers.trainer_utils import SchedulerType

    def works(name: str) -> bool:
        optimiser = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1e-3)
        try:
            scheduler = get_scheduler(name, optimiser, num_warmup_steps=1, num_training_steps=3)
            for _ in range(3):
                optimiser.step()
                scheduler.step()
        except (TypeError, ValueError):
            return False
        return True

    assert set(typing.get_args(Scheduler)) == {kind.value for kind in SchedulerType if works(kind.value)}


def test_losses_are_those_of_trl_less_the_two_that_need_label_smoothing() -> None:
    from trl.trainer import dpo_trainer

    known = set(re.findall(r'loss_type == "(\w+)"', inspect.getsource(dpo_trainer)))
    assert set(typing.get_args(Loss)) == known - {"exo_pair", "robust"}


def test_number_types_are_torchs() -> None:
    import torch

    for name in set(typing.get_args(Vllm.model_fields["dtype"].annotation)) - {"auto"}:
        assert isinstance(getattr(torch, name), torch.dtype)


def test_the_generators_splits_and_the_tiny_models_modules() -> None:
    from regime_w.models.modules import LLAMA
    from regime_w.models.tiny import new_model, train_tokenizer
    from regime_w.questions.synthetic import SPLITS

    assert set(SYNTHETIC_SPLITS) == set(SPLITS) - {"pretrain"}
    tiny = demo_config()["base_model"]["tiny"] | {"hidden_size": 16, "num_layers": 1, "num_heads": 2}
    names = {
        name.removesuffix(".weight").rpartition(".")[2]
        for name, weight in new_model(tiny, train_tokenizer(300, 0)).named_parameters()
        if weight.ndim == 2
    }
    assert names == LLAMA


# What the machine and the files have


def test_shards_follow_the_work_and_the_gpus() -> None:
    whole = changed(generate__shards="auto", generate__n_samples=500)
    assert auto_shards(whole, 8) == ["0-of-1"]
    whole["generate"]["n_samples"] = 7473
    assert len(auto_shards(whole, 8)) == 8
    assert len(auto_shards(whole, 0)) == 1
    whole["engine"]["vllm"]["tensor_parallel_size"] = 4
    assert len(auto_shards(whole, 8)) == 2


@pytest.mark.parametrize(
    ("trajectories", "engines", "shards"),
    [
        (1, 8, 1),
        (8_000, 8, 1),
        (8_001, 8, 2),
        (59_784, 512, 8),
        (400_001, 1, 2),
        (8_000_000, 8, 24),
        (8_000_000, 512, 512),
    ],
)
def test_shards_are_neither_tiny_nor_huge(trajectories: int, engines: int, shards: int) -> None:
    assert shards_for(trajectories, engines) == shards


@pytest.mark.parametrize(
    ("changes", "gpus", "messages"),
    [
        ({"dpo__gpus": 8}, 2, ["dpo.gpus is 8 but 2 GPU(s) are here"]),
        ({"dpo__gpus": 8}, 8, []),
        ({"dpo__gpus": 8, "resources__jobs_per_gpu": 2}, 8, ["dpo.gpus is 8, and a job of several GPUs cannot share"]),
        ({"dpo__gpus": 8, "resources__gpus_per_node": 4}, 8, ["dpo.gpus is 8, a machine has 4"]),
        ({"engine__vllm__tensor_parallel_size": 4}, 0, ["tensor_parallel_size is 4 but 0 GPU(s)"]),
        ({"sft__batch_size": 10, "sft__per_device_batch_size": 4}, 0, ["sft.batch_size 10 is no multiple"]),
        ({}, 3, ["sft.batch_size 16 is no multiple", "dpo.batch_size 16 is no multiple"]),
        ({"resources__jobs_per_gpu": 2}, 3, []),
        ({"sft__adapter": "configs", "rounds": 0}, 3, []),
        ({"sft__adapter": "no/adapter"}, 0, ["sft.adapter: no/adapter does not exist"]),
        ({"generate__skip": 3000}, 0, ["generate.n_samples asks for 2000 questions after the first 3000"]),
        ({"generate__new_questions": True}, 0, ["asks for 4000 questions in 2 rounds after the first 1000"]),
        ({"generate__new_questions": True, "rounds": 1}, 0, []),
        ({"sft__n_examples": 3290}, 0, ["sft.n_examples asks for 3290 questions, the part all has 32"]),
        ({"evaluate__n_questions": 1001}, 0,
         [f"evaluate.n_questions asks for 1001 questions, questions.eval.{a}" for a in ("generated has 1000", "choice has 200")]),
        ({"dpo__lora__target_modules": ["q_prj", "v_proj"]}, 0, ["'q_prj' is no module of the model; did you mean 'q_proj'?"]),
        ({"dpo__lora__target_modules": ["q_prj"], "method": "rejection_sampling"}, 0, []),
        ({"sft__lora__target_modules": ["q_proj", "lm_head"]}, 0, []),
    ],
)  # fmt: skip
def test_what_does_not_fit_here_is_a_line_each(changes: dict[str, Any], gpus: int, messages: list[str]) -> None:
    from regime_w.models.modules import LLAMA

    problems = problems_of(load(changed(**changes)), gpus, LLAMA)
    assert len(problems) == len(messages), problems
    for problem, message in zip(problems, messages, strict=True):
        assert message in problem


def test_questions_of_a_file_are_counted(tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text('{"question": "1?", "answer": "#### 1"}\n\n' * 50)
    source = {"source": "file", "path": str(tmp_path / "q.jsonl")}
    whole = load(
        changed(questions__train=source, questions__eval={"own": source}, sft__n_examples=None, generate__skip=0)
    )
    (problem,) = problems_of(whole, 0)
    assert problem.startswith("generate.n_samples asks for 2000 questions after the first 0")
    assert problem.endswith("the part all has 50 at most; lower one")
    whole["generate"]["n_samples"] = 40
    assert problems_of(whole, 0) == []
    whole["questions"]["eval"]["own"]["n"] = 51
    (problem,) = problems_of(whole, 0)
    assert "questions.eval.own.n asks for 51 questions" in problem
    whole["questions"]["eval"]["own"]["n"] = None
    whole["generate"]["n_samples"] = 101
    whole["questions"]["train"] = [whole["questions"]["train"] | {"weight": None}] * 2
    (problem,) = problems_of(whole, 0)
    assert problem.endswith("the part all has 100 at most; lower one")
    whole["questions"]["train"][1]["weight"] = 0.5  # how many that leaves is known when they are mixed
    assert problems_of(whole, 0) == []


def test_a_parts_size_is_never_said_too_small() -> None:
    """The split by hash of a thousand sets of questions, each of 200."""
    from regime_w.method.draws import in_share

    questions = demo_config()["questions"] | {"rollout_fraction": 0.3, "heldout_fraction": 0.2}
    for number in range(1000):
        names = [f"{number}-{each}" for each in range(200)]
        own = [name for name in names if not in_share("heldout", name, 0.2)]
        rollouts = [name for name in own if in_share("rollouts", name, 0.3)]
        assert len(own) <= plan._most(questions, 200, "all")
        assert len(rollouts) <= plan._most(questions, 200, "rollouts")
        assert len(own) - len(rollouts) <= plan._most(questions, 200, "sft")
    assert plan._most(questions, 10_000, "rollouts") < 2_700


# A verifier of the user's own


@pytest.mark.parametrize("verifier", ["numbers", "grade.py", "{run}/grade.py:f", "grade.py:not-a-name"])
def test_verifiers_that_cannot_be(verifier: str) -> None:
    assert "task.verifier" in " ".join(refusal(changed(task__verifier=verifier)))


def test_a_score_needs_a_verifier_that_gives_one() -> None:
    voted = changed(reward__correct="score", task__verifier="g.py:grade", labels__source="vote")
    assert "reward.correct: a label without gold has no score" in " ".join(refusal(voted))
    assert "reward.correct: number gives no score" in " ".join(refusal(changed(reward__correct="score")))
    scored = load(changed(reward__correct="score", task__verifier="mine.py:grade"))
    assert scored["reward"]["correct"] == "score"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (None, "No such file"),
        ("def grade(:", "not Python"),
        ("def grades(): ...", "no function 'grade', it has grades"),
        ("x = 1", "no function 'grade', it has none"),
    ],
)
def test_a_users_verifier_is_checked_before_any_job(tmp_path: Path, code: str | None, said: str) -> None:
    path = tmp_path / "own.py"
    if code is not None:
        path.write_text(code)
    [problem] = [each for each in problems_of(load(changed(task__verifier=f"{path}:grade")), 0) if "verifier" in each]
    assert problem.startswith("task.verifier: ")
    assert said in problem


@pytest.mark.parametrize("code", ["def grade(): ...", "from a import b as grade", "grade = print", "class grade: ..."])
def test_a_users_verifier_may_come_from_anywhere(tmp_path: Path, code: str) -> None:
    (tmp_path / "own.py").write_text(code)
    assert plan.verifier_problem(f"{tmp_path / 'own.py'}:grade") is None
    assert plan.verifier_file(f"{tmp_path / 'own.py'}:grade") == [f"{tmp_path / 'own.py'}"]
    assert plan.verifier_file("latex") == []


@pytest.mark.parametrize(
    ("openai", "said"),
    [
        ({}, "set one of openai.base_url and openai.serve"),
        ({"base_url": "http://a:1/v1", "serve": "x {model} {port}"}, "set one of openai.base_url and openai.serve"),
        ({"serve": "vllm serve {model}"}, r"serve names no \{port\}"),
        ({"base_url": "a:1"}, "engine.openai.base_url"),
    ],
)
def test_a_served_model_needs_one_address_or_one_command(openai, said):
    raw = demo_config()
    raw["engine"] = {"name": "openai", "openai": openai}
    with pytest.raises(UserError, match=said):
        load(raw)
