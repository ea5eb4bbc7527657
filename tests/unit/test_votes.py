"""Votes: what counts, and that ties are counted by expectation, not by who came first."""

import random
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regime_w.method.votes import fault_kind, is_right, majority, majority_right, unanimous, vote


def out(answer: str | None, correct: bool = False, extraction: str = "hash", finish: str = "stop") -> dict[str, Any]:
    return {"answer": answer, "correct": correct, "extraction": extraction, "finish_reason": finish}


@pytest.mark.parametrize(
    ("answers", "wanted"),
    [
        (["2", "1", "1", None, None, None], ["1"]),
        (["2", "1", "1", "2"], ["2", "1"]),
        (["3", "2", "1"], ["3", "2", "1"]),
        ([None, None], []),
        ([], []),
    ],
)
def test_majority(answers: list[str | None], wanted: list[str]) -> None:
    assert majority(answers) == wanted


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ("5 5 6 6", 0.5),  # one of two that tie
        ("6 6 5 5", 0.5),
        ("5 6 7", 1 / 3),
        ("6 7", 0.0),
        ("5 5 6", 1.0),
        ("6 6 5", 0.0),
    ],
)
def test_ties_are_counted_by_expectation(answers: str, expected: float) -> None:
    outs = [out(answer, answer == "5") for answer in answers.split()]
    assert majority_right(outs, "5") == pytest.approx(expected)


@given(st.lists(st.sampled_from(["1", "2", "3", None]), min_size=1, max_size=6), st.randoms())
def test_who_came_first_says_nothing(answers: list[str | None], rng: random.Random) -> None:
    outs = [out(answer, answer == "1") for answer in answers]
    expected = majority_right(outs, "1")
    rng.shuffle(outs)
    assert majority_right(outs, "1") == pytest.approx(expected)
    # The mean over all orders of "the first seen wins" is the expectation.
    orders = list(permutations(answers))
    firsts = [next(iter(majority(order)), None) == "1" for order in orders]
    assert expected == pytest.approx(sum(firsts) / len(orders))


def test_only_marked_answers_of_finished_texts_count() -> None:
    assert vote(out("5")) == "5"
    assert vote(out("5", extraction="fallback")) is None
    assert vote(out("5", finish="length")) is None
    assert majority_right([out("5", extraction="fallback")] * 3 + [out("6")], "5") == 0
    assert unanimous([out("5"), out("5")]) == "5"
    assert unanimous([out("5"), out("5", finish="length")]) is None
    assert unanimous([out(None), out(None)]) is None


def test_right_wherever_it_stands() -> None:
    assert is_right(out("5", finish="length"), "5")
    assert is_right(out("5", extraction="fallback"), "5")
    assert not is_right(out(None), None)
    assert not is_right(out("6"), "5")


def test_a_function_says_what_is_right_whatever_the_text() -> None:
    """Programs that pass: no answer is the gold one's text, yet the one with most votes is right."""
    outs = [out("def f(): 1", True, "function"), out("def f(): 1", True, "function"), out("pass", False, "function")]
    assert majority_right(outs, "[tests]") == 1
    assert is_right(outs[0], "[tests]")


def test_kinds_of_faults() -> None:
    assert fault_kind("timeout: no answer in 10 s") == "timeout"
