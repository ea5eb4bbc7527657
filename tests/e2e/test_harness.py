"""lm-evaluation-harness for real, on a tiny random model: the ids that it is fed, its graders on known texts, our texts."""

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers import demo_config, save_random_model

from regime_w.config.recipes import READS
from regime_w.models.manifests import write_manifest
from regime_w.runtime.errors import UserError
from regime_w.runtime.records import read_json, read_jsonl
from regime_w.runtime.seals import write_jsonl
from scripts import evaluate, outside_answers, outside_check

pytestmark = [
    pytest.mark.outside,
    pytest.mark.skipif(
        importlib.util.find_spec("lm_eval") is None, reason="lm-eval is not installed; make test_outside installs it"
    ),
]
# What the model is made to say of each question, whose answer is 18.
TEXTS = {
    "plain": "6+12=18\n#### 18",
    "first": "#### 20\nNo:\n#### 18",
    "value": "#### 18.00",
    "other": "The answer is \\boxed{18}",
    "wrong": "#### 17",
}
CHAT = "{{ bos_token }}{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}{{ 'Answer: ' }}"


def made(folder: Path, **kind: Any) -> Path:
    write_manifest(save_random_model(folder, **kind), {})
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("outside") / "round1")


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the stages make of a set: the harness's answers, ours, or the comparison."""
    questions = tmp_path / "quiz.jsonl"
    write_jsonl(questions, [{"id": name, "question": f"6 + 12, {name}?", "gold_answer": "18"} for name in TEXTS])
    config = demo_config()
    config["engine"] |= {"name": "transformers", "transformers": {**config["engine"]["transformers"], "batch_size": 2}}
    config["evaluate"] |= {"k": 1, "max_new_tokens": 8, "styles": ["plain"]}

    def run(stage: Any, **options: Any) -> Any:
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        monkeypatch.setattr(sys, "argv", ["stage", *words])
        stage.main()

    def theirs(model: Path, **changes: Any) -> dict[str, Any]:
        params = json.dumps(READS["outside_answers"](config | changes))
        run(outside_answers, params=params, model=model, questions=questions, output=tmp_path / "theirs.json")
        return read_json(tmp_path / "theirs.json")

    def ours(model: Path) -> list[dict[str, Any]]:
        params = json.dumps(READS["evaluate"](config))
        run(evaluate, params=params, models=model, questions=questions, outputs=tmp_path / "ours.jsonl")
        return read_jsonl(tmp_path / "ours.jsonl")

    def check() -> dict[str, Any]:
        params = json.dumps({"run": "toy", "checks": [{"set": "quiz", "model": "round1", "task": config["task"]}]})
        paths = {"ours": tmp_path / "ours.jsonl", "theirs": tmp_path / "theirs.json"}
        run(outside_check, params=params, **paths, md=tmp_path / "check.md", json=tmp_path / "check.json")
        return read_json(tmp_path / "check.json")["checks"][0]

    return theirs, ours, check


def test_its_greedy_texts_are_ours_and_so_is_every_figure(model: Path, asked: Any) -> None:
    theirs, ours, check = asked
    answers = theirs(model)
    ours(model)
    assert len({answer["text"] for answer in answers["answers"]}) > 1
    found = check()
    assert (found["questions"], found["same_texts"], found["other_ids"]) == (len(TEXTS), len(TEXTS), 0)


@pytest.fixture
def says(monkeypatch: pytest.MonkeyPatch) -> None:
    """The harness's model and ours say TEXTS."""
    from lm_eval.models.huggingface import HFLM

    from regime_w.sampling.engines.interface import Completion
    from regime_w.sampling.engines.transformers import TransformersEngine

    def generate_until(_: Any, requests: list[Any], **__: Any) -> list[str]:
        return [TEXTS[request.doc["id"]] for request in requests]

    def generate(engine: Any, requests: Any) -> Any:
        for request in requests:
            asked = engine.tokenizer.decode(request.prompt_ids)
            (name,) = [name for name in TEXTS if f", {name}?" in asked]
            yield Completion(request.key, TEXTS[name], (5, 1), "stop")

    monkeypatch.setattr(HFLM, "generate_until", generate_until)
    monkeypatch.setattr(TransformersEngine, "generate", generate)


def test_its_graders_are_its_own_and_each_difference_has_its_reason(model: Path, asked: Any, says: None) -> None:
    theirs, ours, check = asked
    taken = {
        each["id"]: {name: own["answer"] for name, own in each["grades"].items()} for each in theirs(model)["answers"]
    }
    assert taken == {
        "plain": {"strict-match": "18", "flexible-extract": "18"},
        "first": {"strict-match": "20", "flexible-extract": "18"},
        "value": {"strict-match": "18.00", "flexible-extract": "18.00"},
        "other": {"strict-match": "[invalid]", "flexible-extract": "18"},
        "wrong": {"strict-match": "17", "flexible-extract": "17"},
    }
    ours(model)
    strict, flexible = check()["pairs"]
    assert (strict["ours_correct"], strict["theirs_correct"]) == (4, 1)
    assert {why: each["examples"] for why, each in strict["disagreements"].items()} == {
        "string": ["value"], "no_mark": ["other"], "first_mark": ["first"],
    }  # fmt: skip
    assert (flexible["ours_correct"], flexible["theirs_correct"]) == (4, 3)
    assert {why: each["examples"] for why, each in flexible["disagreements"].items()} == {"string": ["value"]}


def test_latex_is_graded_by_minerva_math(model: Path, asked: Any, says: None) -> None:
    theirs, _, _ = asked
    found = theirs(model, task={"verifier": "latex", "timeout": 5.0})
    assert found["harness"]["task"] == "minerva_math_algebra"
    right = {each["id"]: each["grades"]["math_verify"]["correct"] for each in found["answers"]}
    assert right["other"]
    assert not right["wrong"]
    assert not any(each["grades"]["exact_match"]["correct"] for each in found["answers"])


@pytest.mark.parametrize("bos", [True, False])
@pytest.mark.parametrize("chat", [False, True])
def test_the_ids_that_it_feeds_are_ours(tmp_path: Path, asked: Any, says: None, bos: bool, chat: bool) -> None:
    """Whether the tokenizer writes BOS, the chat template, or neither."""
    theirs, _, _ = asked
    model = save_random_model(tmp_path / "model", bos=bos)
    (model / "chat_template.jinja").write_text(CHAT)
    write_manifest(model, {})
    prompt = demo_config()["prompt"] | ({"format": "chat"} if chat else {})
    assert theirs(model, prompt=prompt)["other_ids"] == []


def test_prompts_that_it_reads_otherwise_are_told(model: Path, asked: Any, says: None, monkeypatch: Any) -> None:
    """A question that spells a control token; a tokenizer of which it makes other ids throughout."""
    theirs, _, _ = asked
    real = outside_answers.read_jsonl

    def spelled(path: Path, **how: Any) -> list[dict[str, Any]]:
        rows = real(path, **how)
        rows[1]["question"] += " </s>"
        return rows

    monkeypatch.setattr(outside_answers, "read_jsonl", spelled)
    assert theirs(model)["other_ids"] == ["first"]
    monkeypatch.setattr("regime_w.sampling.harness.fed_ids", lambda engine, prompt: [1])
    with pytest.raises(UserError, match="other token ids than ours, for every question"):
        theirs(model)
