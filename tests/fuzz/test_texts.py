"""Hostile model texts through answer extraction, scoring, coherence and pairing: no crash, no hang, sound records."""

import json
import math
import random
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from fuzz.guard import ends, examples
from fuzz.hostile import PAYLOADS, PIECES, made_of_pieces, repeated, texts
from helpers import demo_config
from hypothesis import strategies as st

from regime_w.method.pairs import build_pairs
from regime_w.method.samples import build_samples
from regime_w.runtime.records import read_jsonl
from regime_w.runtime.seals import write_jsonl
from regime_w.tasks.answers import (
    equal,
    extract,
    gold_from_rationale,
    math_verify_agrees,
    normalise,
    reasoning_part,
)
from regime_w.tasks.choice import Choice
from regime_w.tasks.exact import Exact
from regime_w.tasks.latex import Latex, written
from regime_w.tasks.marks import cut
from regime_w.tasks.prompts import text_forms
from regime_w.tasks.verifier import Verifier
from regime_w.tasks.verifiers import new_verifier
from regime_w.training.preferences import build
from scripts.check_rollouts import check
from scripts.score_rollouts import score

COUNTS = [pytest.param(400, id="smoke"), pytest.param(10_000, marks=pytest.mark.fuzz, id="full")]
ARMS = 8

# Behind `####`, short enough that math-verify is asked, of what its grammar and sympy know.
MATHS = (
    *("(", ")", "((", "[", "]", "{", "}", "|", "\\frac{", "\\dfrac{1}{", "}{", "\\text{", "\\$", "\\%", "%", "$", "°"),
    *("+", "-", "*", "/", "//", "×", "÷", "=", "<", ">", "≤", "≠", ",", ";", ":", ".", "..", "~", "√", "π", "∞", "∫", "∑"),
    *("x", "y", "e", "i", "oo", "nan", "inf", "sqrt", "log", "sin", "gamma", "factorial", "binomial", "mod", "and", "or"),
    *("0", "1", "2", "7", "10", "0.1", "1,000", "1/3", "99999999", "9" * 40, "1.5e3", "½", "²", "⅓", "１", "٣", " ", "\t"),
    *("'", "!", "∪", "∅", "in", "to", "  "),
)  # fmt: skip
maths = st.builds(
    lambda mark, first, rest, times: f"so\n{mark} {first}{(''.join(rest) * times)[:79]}",
    st.sampled_from(("####", "Answer:", "\\boxed{", "")),
    st.sampled_from(("1", "18", "-3", "0.5", "2/3", "$5", "x", "(")),
    st.lists(st.sampled_from(MATHS), min_size=1, max_size=12),
    st.sampled_from((1, 1, 1, 30)),
)
solved = st.builds(lambda text, mark: f"{text}\n{mark} 18", texts, st.sampled_from(("####", "Answer:", "#### $")))


@cache
def model_texts(count: int) -> list[str]:
    """`count` texts of all kinds, well mixed; the first are payloads, and pieces repeated."""
    fixed = [
        *PAYLOADS,
        *(piece * (20_000 // len(piece)) for piece in PIECES),
        *("#### " + piece * (20_000 // len(piece)) for piece in PIECES),
    ]
    kinds = (texts, made_of_pieces, repeated, maths, maths, solved)
    each = [examples(kind, 1 + max(0, count - len(fixed)) // len(kinds)) for kind in kinds]
    mixed = [text for several in zip(*each, strict=True) for text in several]
    return (fixed + mixed)[:count] if count >= len(fixed) else fixed[::4] + mixed


@pytest.mark.parametrize("count", COUNTS)
def test_answers(count: int) -> None:
    """Every text has an answer in canonical form or none, and math-verify is never a way to hang."""
    found = asked = 0
    for text in model_texts(count):
        with ends(text):
            answer, method, span = extract(text)
            reasoning = reasoning_part(text)
            gold = gold_from_rationale(text)
            number = normalise(text)
        assert (answer is None) == (method == "none")
        assert answer is None or normalise(answer) == answer, text
        assert number is None or normalise(number) == number, text
        assert equal(answer, answer) == (answer is not None)
        assert cut(text).startswith(reasoning)
        assert len(gold) <= len(text) + 21
        with ends(span):
            opinion = math_verify_agrees(span, "18")
        with ends(text[-80:]):
            math_verify_agrees(text[-80:], "1/3")
        found += answer is not None
        asked += opinion is not None
    assert found > count / 10
    assert asked > count / 20


OPTIONS = {"options": ["A)18", "B)18 eggs", "C)" + "9" * 400, "D)\ud800", "E)"]}


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("verifier", [Exact(), Choice()], ids=["exact", "choice"])
def test_other_answers(verifier: Verifier, count: int) -> None:
    """Texts and letters: read in linear time, in a form that is its own."""
    found = 0
    for text in model_texts(count):
        with ends(text):
            grade = verifier.grade(text, "a", OPTIONS)
            gold = verifier.gold(text, OPTIONS)
            verifier.gold_in(text, OPTIONS)
        assert (grade.answer is None) == (grade.method == "none")
        for answer in (grade.answer, gold):
            assert answer is None or verifier.read(answer, OPTIONS) == answer, text
        assert cut(text).startswith(grade.reasoning)
        found += grade.answer is not None
    assert found > count / 50


@pytest.mark.parametrize("count", [COUNTS[0], pytest.param(2_000, marks=pytest.mark.fuzz, id="full")])
def test_formulas(count: int) -> None:
    """Whatever math-verify and sympy do with a text, it is graded in time; few texts take more than they have."""
    latex = Latex(timeout=5)
    found = failed = 0
    try:
        for text in model_texts(count):
            with ends(text):
                grade = latex.grade(text, "x^2")
                written(text)
            assert (grade.answer is None) == (grade.method == "none")
            assert not grade.correct
            found += grade.answer is not None
            failed += grade.fault is not None
    finally:
        latex.close()
    assert found > count / 10
    assert failed < count / 50


def test_a_function_is_handed_any_text(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("def grade(text, gold, row): return {'answer': text[:99], 'correct': False}\n")
    verifier = new_verifier(f"{tmp_path / 'own.py'}:grade", 20)
    try:
        for text in model_texts(100):
            with ends(text):
                grade = verifier.grade(text, text, {"question": text})
            assert (grade.answer, grade.fault) == (cut(text)[:99] or None, None)
    finally:
        verifier.close()


def everything() -> dict[str, Any]:
    """The default config, with every candidate pair wanted."""
    config = demo_config()
    config["pairs"] |= {"policy": "all", "coherence_share": 1.0, "same_style": False, "max_similarity": 1.0}
    config["rejection_sampling"] |= {"per_question": ARMS, "max_similarity": 1.0}
    return config


def asked(identity: str, config: dict[str, Any], own: list[str]) -> list[dict[str, Any]]:
    """Completions of one question, a text an arm."""
    return [
        {
            "id": identity,
            "arm": arm["name"],
            "style": arm["style"],
            "temperature": arm["temperature"],
            "seed": 1,
            "text": text.encode("utf-8", "replace").decode(),  # as the journal has it
            "num_tokens": 1 + len(text) % 100,
            "finish_reason": "stop" if place % 4 else "length",
        }
        for place, (arm, text) in enumerate(zip(config["arms"], own, strict=True))
    ]


def test_eight_long_texts_of_one_question() -> None:
    """Runaway completions of 200,000 characters: time must not grow with their square."""
    config, rng = everything(), random.Random(0)
    own = ["".join(rng.choices("abc def 123+= \n", k=200_000)) + f"\n#### {17 + place % 2}" for place in range(ARMS)]
    with ends("eight texts, scored"):
        row = score({"id": "0", "question": "?", "gold_answer": "18"}, asked("0", config, own), config)
    with ends("eight texts, paired"):
        pairs, _ = build_pairs(row, config["pairs"], 0)
        build_samples(row, config["rejection_sampling"], 0)
    assert pairs


@pytest.mark.parametrize("count", COUNTS)
def test_scores_and_pairs(count: int, tmp_path: Path) -> None:
    """Eight texts a question, right ones among them: the records pass the pipeline's own checks."""
    config = everything()
    made = model_texts(count)
    rows = []
    for number in range(0, len(made) - ARMS + 1, ARMS):
        own = made[number : number + ARMS]
        completions = asked(str(number), config, own)
        question = {"id": str(number), "question": own[0].strip() or "?", "gold_answer": "18"}
        question["question"] = question["question"].encode("utf-8", "replace").decode()
        with ends(own):
            row = score(question, completions, config)
        with ends(own):
            build_pairs(row, config["pairs"], 0)
            build_samples(row, config["rejection_sampling"], 0)
        for item in row["trajectories"]:
            assert all(0 <= item[name] <= 1 for name in ("s_end", "s_path", "s_cf", "s_wm"))
            assert math.isfinite(item["reward"])
        rows.append(row)
    write_jsonl(tmp_path / "rollouts.jsonl", rows)
    again: list[dict[str, Any]] = read_jsonl(tmp_path / "rollouts.jsonl")
    assert json.dumps(again) == json.dumps(rows)
    result, failures = check(tmp_path / "rollouts.jsonl", ARMS, len(rows))
    assert not failures
    assert result["trajectories"] == ARMS * len(rows)
    summary = build(tmp_path / "rollouts.jsonl", config, text_forms(config, None, {}), tmp_path / "preferences.jsonl")
    assert summary["candidates"] == summary["kept"] + sum(summary["dropped"].values())
    assert summary["kept"] > len(rows) / 4
    pairs = read_jsonl(tmp_path / "preferences.jsonl")
    assert len(pairs) == summary["kept"]
    questions = {row["id"]: row["question"] for row in rows}
    assert all(questions[pair["id"]].strip() in pair["prompt"] for pair in pairs)
