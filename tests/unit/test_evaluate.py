"""Evaluation of several models by one job: one engine for those that differ in weights alone, and what it resumes from."""

import json
import logging
import re
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import clone_to, demo_config, save_random_model, snakemake
from plans import edit_config, make_outputs, planned
from safetensors.torch import load_file, save_file

from regime_w.config.recipes import READS, recipes_of
from regime_w.models.folders import alike
from regime_w.models.manifests import seal_of, write_manifest
from regime_w.runtime.errors import UserError
from regime_w.runtime.records import read_jsonl, sha256_file
from regime_w.runtime.seals import write_jsonl
from regime_w.sampling import collect
from regime_w.sampling.engines.interface import CannotSwitch
from scripts import evaluate

QUESTIONS = [{"id": f"q{n}", "question": f"{n} + 1?", "gold_answer": str(n + 1)} for n in range(5)]
SETTINGS = {"k": 2, "max_new_tokens": 8}
ANSWERS = len(QUESTIONS) * (1 + SETTINGS["k"])


def demo() -> dict[str, Any]:
    return demo_config()


def saved(folder: Path, **kind: Any) -> Path:
    write_manifest(save_random_model(folder, **kind), {})
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    kinds: dict[str, dict[str, Any]] = {
        "base": {}, "sft": {"seed": 1}, "round1": {"seed": 2}, "wide": {"hidden": 96}, "no_bos": {"bos": False},
        "tied": {"tied": True},
    }  # fmt: skip
    return {name: saved(folder / name, **kind) for name, kind in kinds.items()}


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What each engine that is opened does: load, and switch to which model."""
    opened: list[list[str]] = []
    real = collect.open_engine

    @contextmanager
    def noting(*arguments: Any) -> Any:
        with real(*arguments) as engine:
            did: list[str] = []
            opened.append(did)
            load, switch = engine.load, engine.switch
            monkeypatch.setattr(engine, "load", lambda length: (did.append(f"load {length}"), load(length)))
            monkeypatch.setattr(engine, "switch", lambda model: (did.append(f"switch {model.name}"), switch(model)))
            yield engine

    monkeypatch.setattr(collect, "open_engine", noting)
    return opened


@pytest.fixture
def answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The records of each model, evaluated by one job."""
    write_jsonl(tmp_path / "eval.jsonl", QUESTIONS)
    config = demo()
    config["engine"]["name"] = "transformers"
    config["evaluate"] |= SETTINGS

    def run(models: dict[str, Path], folder: str, **task: Any) -> dict[str, list[dict[str, Any]]]:
        params = json.dumps(READS["evaluate"](config | {"task": config["task"] | task}))
        outputs = {name: tmp_path / folder / f"{name}.jsonl" for name in models}
        command = ["evaluate", "--params", params, "--questions", str(tmp_path / "eval.jsonl")]
        command += ["--models", *(str(model) for model in models.values())]
        monkeypatch.setattr(sys, "argv", [*command, "--outputs", *map(str, outputs.values())])
        evaluate.main()
        return {name: read_jsonl(output) for name, output in outputs.items()}

    return run


def chosen(models: dict[str, Path], *names: str) -> dict[str, Path]:
    return {name: models[name] for name in names}


def test_one_engine_answers_for_each_model_as_its_own_would(
    models: dict[str, Path], answers: Any, engines: list[list[str]]
) -> None:
    names = ("base", "sft", "round1")
    alone = {name: answers(chosen(models, name), f"alone_{name}")[name] for name in names}
    assert len({json.dumps(rows) for rows in alone.values()}) == 3
    engines.clear()
    assert answers(chosen(models, *names), "together") == alone
    (did,) = engines
    assert [each.split()[0] for each in did if each != "load 0"] == ["load", "switch", "switch"]


def test_a_users_function_grades_what_the_journal_holds(
    models: dict[str, Path], answers: Any, engines: list[list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Edited, it is asked again of the same texts; nothing is generated."""
    own = tmp_path / "own.py"
    own.write_text("def grade(text, gold, row): return {'answer': str(len(text)), 'correct': row['id'] == 'q1'}\n")
    numbers = answers(chosen(models, "base"), "run")["base"]
    rows = answers(chosen(models, "base"), "run", verifier=f"{own}:grade")["base"]
    texts = [[out["text"] for out in (row["greedy"], *row["samples"])] for row in rows]
    assert texts == [[out["text"] for out in (row["greedy"], *row["samples"])] for row in numbers]
    for row in rows:
        for out in (row["greedy"], *row["samples"]):
            right = row["id"] == "q1"
            assert (out["answer"], out["extraction"]) == (str(len(out["text"])), "function")
            assert out["correct"] is (right and out["finish_reason"] == "stop")
            assert out["score"] == float(out["correct"])
    own.write_text("def grade(text, gold, row):\n    if row['id'] == 'q1': raise ValueError('x')\n"
                   "    return {'answer': None, 'correct': False}\n")  # fmt: skip
    rows = answers(chosen(models, "base"), "run", verifier=f"{own}:grade", timeout=9)["base"]
    assert [row["greedy"].get("fault") for row in rows] == [None, "exception: ValueError: x", None, None, None]
    assert (
        f"The verifier failed on 3 of {ANSWERS} answers, which are not correct; first: question q1"
        in capsys.readouterr().out
    )
    assert [did for did in engines if "load 0" not in did and did] == engines[:1]
    own.write_text("def grade(text, gold, row): return 1\n")
    with pytest.raises(UserError, match=f"failed on all {ANSWERS} answers, first question q0: return"):
        answers(chosen(models, "base"), "run", verifier=f"{own}:grade", timeout=8)


def test_gold_answers_are_read_before_an_engine_starts(
    models: dict[str, Path], answers: Any, engines: list[list[str]]
) -> None:
    with pytest.raises(UserError, match="question q0: the verifier choice cannot read the gold answer '1'"):
        answers(chosen(models, "base"), "run", verifier="choice")
    assert engines == []


def test_a_model_that_differs_in_more_than_weights_gets_its_own_engine(
    models: dict[str, Path], answers: Any, engines: list[list[str]]
) -> None:
    alone = answers(chosen(models, "no_bos"), "alone")
    engines.clear()
    together = answers(chosen(models, "base", "no_bos", "wide"), "together")
    assert len(engines) == 3
    assert not any("switch" in each for did in engines for each in did)
    assert together["no_bos"] == alone["no_bos"]


def test_only_what_a_journal_lacks_is_made_and_nothing_loaded_where_none_lacks_any(
    models: dict[str, Path],
    answers: Any,
    engines: list[list[str]],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    names = ("base", "sft", "round1")
    first = answers(chosen(models, *names), "run")
    (did,) = engines
    engines.clear()
    assert answers(chosen(models, *names), "run") == first
    assert engines == [[]]
    journal = tmp_path / "run/round1.journal/round1.jsonl"
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:-4]))
    assert answers(chosen(models, *names), "run") == first
    # Loaded with the model that lacks answers, for requests as long as if it lacked all.
    assert engines[1] == ["switch round1", did[0]]
    assert [line for line in caplog.messages if "asked for" in line][-3:] == [
        f"{ANSWERS} trajectories asked for, {ANSWERS - lacking} kept from the journal, {lacking} to make"
        for lacking in (0, 0, 4)
    ]


def test_weights_that_cannot_be_changed_in_place_cost_another_engine(
    models: dict[str, Path], answers: Any, engines: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from regime_w.sampling.engines.transformers import TransformersEngine

    names = ("base", "sft")
    wanted = answers(chosen(models, *names), "wanted")
    engines.clear()

    def refuse(*_: Any) -> None:
        raise CannotSwitch("not in place")

    monkeypatch.setattr(TransformersEngine, "switch", refuse)
    assert answers(chosen(models, *names), "refused") == wanted
    assert [[each.split()[0] for each in did] for did in engines] == [["load", "switch"], ["load"]]


def test_each_model_needs_an_output(models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    manifests = [str(models[name]) for name in ("base", "sft")]
    arguments = ["--params", "{}", "--questions", "q.jsonl", "--models", *manifests, "--outputs", "base.jsonl"]
    monkeypatch.setattr(sys, "argv", ["evaluate", *arguments])
    with pytest.raises(SystemExit):
        evaluate.main()


def test_models_are_alike_when_only_weights_differ(models: dict[str, Path], tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = models["base"]
    assert alike(base, models["sft"], {})
    assert not alike(base, models["sft"], {"trust_remote_code": True})
    assert not any(alike(base, models[name], {}) for name in ("wide", "no_bos", "tied"))
    assert not alike(models["tied"], models["tied"], {})
    AutoModelForCausalLM.from_pretrained(base, dtype="auto").save_pretrained(tmp_path / "again", max_shard_size="50KB")
    AutoTokenizer.from_pretrained(base).save_pretrained(tmp_path / "again")
    config = json.loads((tmp_path / "again/config.json").read_text())
    (tmp_path / "again/config.json").write_text(
        json.dumps(config | {"transformers_version": "4.0", "_name_or_path": "x"})
    )
    assert alike(base, tmp_path / "again", {})


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("config.json", {"rope_parameters": {"rope_theta": 500.0, "rope_type": "default"}}),
        ("config.json", {"dtype": "bfloat16"}),
        ("config.json", {"rms_norm_eps": 0.01}),
        ("generation_config.json", {"eos_token_id": [1, 5]}),
        ("tokenizer_config.json", {"eos_token": "<pad>"}),
        ("tokenizer_config.json", {"clean_up_tokenization_spaces": True}),
    ],
)
def test_models_that_would_answer_otherwise_are_not_alike(
    models: dict[str, Path], tmp_path: Path, file: str, change: dict[str, Any]
) -> None:
    other = save_random_model(tmp_path / "other")
    assert alike(models["base"], other, {})
    (other / file).write_text(json.dumps(json.loads((other / file).read_text()) | change))
    assert not alike(models["base"], other, {})


def test_rotary_constants_of_old_checkpoints_are_no_difference_and_other_tensors_are(
    models: dict[str, Path], tmp_path: Path
) -> None:
    other = save_random_model(tmp_path / "other")
    weights = other / "model.safetensors"
    tensors = load_file(weights) | {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(16)}
    save_file(tensors, weights, metadata={"format": "pt"})
    assert alike(models["base"], other, {})
    save_file(tensors | {"model.layers.0.self_attn.q_proj.bias": torch.ones(64)}, weights, metadata={"format": "pt"})
    assert not alike(models["base"], other, {})


# The rules


@pytest.mark.parametrize(
    ("gpus", "changes", "wanted"),
    [
        (0, {}, {"evaluate": 3}),
        (1, {}, {"evaluate_all": 1}),
        (2, {}, {"evaluate": 3}),
        (1, {"engine__name": "transformers"}, {"evaluate": 3}),
        (1, {"rounds": 3}, {"evaluate_all": 1}),
    ],
)
def test_one_job_on_one_gpu_and_one_a_model_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpus: int, changes: dict[str, Any], wanted: dict[str, int]
) -> None:
    folder = clone_to(tmp_path / "clone")
    edit_config(folder, **{"rounds": 1, "questions__eval": {}} | changes)  # demo.yaml's one set
    monkeypatch.setenv("REGIME_W_FAKE_GPUS", str(gpus))
    jobs = planned(folder)
    assert {rule: len(each) for rule, each in jobs.items() if rule.startswith("evaluate")} == wanted


STUDY = {"recipes": {"sft": {"method": "none"}, "dpo": {}}, "baselines": ["sft"], "reference": "dpo"}


@pytest.mark.parametrize(
    ("recipes", "model", "rule"),
    [
        ({}, "sft", "evaluate_all"),
        ({"rounds_2": {"rounds": 2}}, "round2", "evaluate"),  # a recipe's, not the run's
        ({"dpo": {"dpo": {"beta": 0.5}}}, "sft", "evaluate"),  # none needs what the run itself trains
    ],
)
def test_a_study_on_one_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipes: dict[str, Any], model: str, rule: str
) -> None:
    folder = clone_to(tmp_path / "clone")
    study = STUDY | {"recipes": STUDY["recipes"] | recipes}
    edit_config(folder, rounds=1, study=study, questions__heldout_fraction=0.2, generate__n_samples=1500)
    monkeypatch.setenv("REGIME_W_FAKE_GPUS", "1")
    jobs = planned(folder, target=f"data/demo/answers/generated/{model}.jsonl")
    assert [each for each in jobs if each.startswith("evaluate")] == [rule]
    assert "train_dpo" in jobs or rule == "evaluate"


def test_sharing_gpus_changes_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only how many jobs run at a time, and with how many GPUs and threads each."""
    folder = clone_to(tmp_path / "clone")
    edit_config(folder, rounds=1)
    monkeypatch.setenv("REGIME_W_FAKE_GPUS", "2")
    alone = planned(folder)
    edit_config(folder, resources__jobs_per_gpu=4)
    shared = planned(folder)
    assert {rule: len(each) for rule, each in shared.items()} == {rule: len(each) for rule, each in alone.items()}

    def gpus() -> list[str]:
        done = snakemake(folder, "eval_report", "--dry-run")
        return sorted(set(re.findall(r"gpu=(\d+)", done.stdout + done.stderr)))

    assert gpus() == ["1"]
    edit_config(folder, resources__jobs_per_gpu=1)
    assert gpus() == ["1", "2"]


def test_a_job_for_all_models_that_failed_goes_on_where_it_stopped(
    tmp_path: Path, models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real rule on a GPU that is pretended, with the engine told to stay on the CPU."""
    monkeypatch.setenv("REGIME_W_FAKE_GPUS", "1")
    monkeypatch.setenv("REGIME_W_LEASE_DIR", str(tmp_path / "leases"))
    folder = clone_to(tmp_path / "clone")
    edit_config(folder, rounds=1, evaluate=SETTINGS)
    engine = folder / "regime_w/sampling/engines/transformers.py"
    engine.write_text(engine.read_text().replace('"cuda" if gpus else "cpu"', '"cpu"'))
    places = {"base": "base", "sft": "sft_merged", "round1": "round1/merged"}
    for name, place in places.items():
        (folder / "checkpoints/demo" / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / "checkpoints/demo" / place).symlink_to(models[name])
    round1 = save_random_model(tmp_path / "round1", seed=2)
    write_manifest(round1, {})
    (folder / "checkpoints/demo/round1/merged").unlink()
    (folder / "checkpoints/demo/round1/merged").symlink_to(round1)
    write_jsonl(folder / "data/demo/questions/eval/generated.jsonl", QUESTIONS)
    for place in places.values():
        model = folder / "checkpoints/demo" / place
        seal_of(model).write_text(f"{sha256_file(model / 'manifest.json')}  {model.name}/manifest.json\n")
    make_outputs(folder, "eval_report")
    outputs = [folder / f"data/demo/answers/generated/{name}.jsonl" for name in places]
    usage = folder / "benchmarks/demo/evaluate/generated.usage.json"
    for file in (*outputs, usage, folder / "results/demo/eval_report.html"):
        file.unlink()
    weights = round1 / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-8] + bytes(8))

    def run() -> tuple[int, str]:
        done = snakemake(folder, "eval_report", "--until", "evaluate_all", "--rerun-triggers", "mtime")
        return done.returncode, (folder / "logs/demo/evaluate/generated.log").read_text()

    status, log = run()
    assert status != 0
    assert "its bytes changed" in log
    assert not any(file.exists() for file in outputs)
    weights.write_bytes(whole)
    status, log = run()
    assert status == 0, log
    assert log.count("Engine: transformers") == 1
    kept = [line.split(", ")[1] for line in log.splitlines() if "asked for" in line]
    assert kept == [f"{number} kept from the journal" for number in (ANSWERS, ANSWERS, 0)]
    assert [len(read_jsonl(file)) for file in outputs] == [len(QUESTIONS)] * 3
    assert json.loads(usage.read_text())["stage"] == "evaluate"


def test_the_usage_of_one_job_for_all_models_counts_once() -> None:
    own, _ = recipes_of(demo() | {"rounds": 1})
    shards = ["0-of-1"]
    each = own.usage(shards, ["generated", "aqua"])
    assert [name for name in each if "evaluate" in name] == [
        f"benchmarks/demo/evaluate/{name}/{model}.usage.json"
        for model in ("sft", "round1")
        for name in ("generated", "aqua")
    ]
    assert own.usage(shards, []) == [name for name in each if "evaluate" not in name]
