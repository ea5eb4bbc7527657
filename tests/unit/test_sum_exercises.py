"""Exercises: sums like those of the rationales, right, with other numbers, the same for a seed."""

import re
from collections import Counter
from fractions import Fraction

import pytest

from regime_w.method.sums import holds, stated, written_sums
from regime_w.questions.sum_exercises import exercises, right_sums
from regime_w.runtime.errors import UserError
from regime_w.tasks.answers import gold_from_rationale

TEXTS = [
    "She sold 48/2 = 24 clips in May, 48+24 = 72 in all.\n#### 72",
    "It costs $12.50 + $3 = $15.50, so 3 x $15.50=$46.50, or 20 * 60/100 = 12.\n#### 12",
    "A wrong one: 2+2 = 5. A rounded one: 10/3 = 3.33.\n#### 5",
]


def test_every_exercise_is_right_and_ends_in_its_last_result() -> None:
    made = exercises(TEXTS, 50, seed=0)
    assert len(made) == 50
    for question, answer in made:
        *lines, label = answer.split("\n")
        sums = list(written_sums("\n".join(lines)))
        assert len(sums) == len(lines) > 1
        assert holds(answer)
        assert Fraction(gold_from_rationale(answer)) == stated(sums[-1][0])
        assert question == f"Work out {', '.join(m[1] for m, _ in sums[:-1])} and {sums[-1][0][1]}."
        assert label.startswith("#### ")


def test_numbers_are_others_in_the_same_notation() -> None:
    answers = "\n".join(answer for _, answer in exercises(TEXTS, 50, seed=0))
    shapes = Counter(re.sub(r"[0-9]+(\.[0-9]+)?", "N", line) for line in answers.split("\n"))
    assert set(shapes) == {"N/N = N", "N+N = N", "$N + $N = $N", "N x $N=$N", "N * N/N = N", "#### N"}
    assert len(set(answers.split("\n"))) > 100
    assert set(re.findall(r"[0-9]+ \* [0-9]+/([0-9]+)", answers)) == {"100"}  # a percentage stays one


def test_the_longer_sums_come_up_more_often() -> None:
    texts = ["2+3 = 5", "20 + 30 + 40 + 50 + 60 = 200"]
    answers = "\n".join(answer for _, answer in exercises(texts, 50, seed=0))
    assert len(re.findall(r"(?:\+ [0-9]+ ){4}=", answers)) > 2 * len(
        re.findall(r"^[0-9]+\+[0-9]+ =", answers, re.MULTILINE)
    )


def test_a_seed_gives_the_same_ones_and_fewer_are_the_first() -> None:
    assert exercises(TEXTS, 5, seed=1) == exercises(TEXTS, 9, seed=1)[:5] != exercises(TEXTS, 5, seed=2)
    assert exercises(TEXTS, 0, seed=1) == []


def test_only_right_sums_are_taken() -> None:
    assert [own.left for own in right_sums("\n".join(TEXTS))] == [
        "48/2", "48+24", "$12.50 + $3", "3 x $15.50", "20 * 60/100",
    ]  # fmt: skip
    with pytest.raises(UserError, match="no rationale writes a sum out"):
        exercises(["He has 5.\n#### 5"], 3, seed=0)
