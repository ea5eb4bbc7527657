"""Exercises: sums like those of the rationales, right, with other numbers, the same for a seed."""

import ast
import re
from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regime_w.method.sums import holds, written_sums
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
        assert Fraction(gold_from_rationale(answer)) == sums[-1].stated
        assert question == f"Work out {', '.join(own.left for own in sums[:-1])} and {sums[-1].left}."
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


@pytest.mark.parametrize(
    "text",
    [
        "60 / 3/4 = 15", "5 100 + 2 = 5 102", "8 x 1 1/2 = 12", "1,5 + 2,5 = 4", "48/2 = <<48/2=24>>24", "60/80 = 75%",
        "10/3 = 3.33", "3 + 4 = -7",
    ],
)  # fmt: skip
def test_sums_that_could_be_read_otherwise_are_not_practised(text: str) -> None:
    assert right_sums(text) == []


def exactly(node: ast.expr) -> Fraction:
    """A value by Python's own reading of an expression, in fractions."""
    if isinstance(node, ast.BinOp):
        one, other = exactly(node.left), exactly(node.right)
        match node.op:
            case ast.Add():
                return one + other
            case ast.Sub():
                return one - other
            case ast.Mult():
                return one * other
            case ast.Div():
                return one / other
    assert isinstance(node, ast.Constant)
    return Fraction(str(node.value))


PRICES = st.integers(1, 9_999).map(lambda cents: f"{cents / 100:.2f}")
OPERANDS = st.one_of(st.integers(1, 999).map(str), PRICES, PRICES.map(lambda price: f"${price}"))


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.lists(OPERANDS, min_size=2, max_size=5),
            st.sampled_from("+-*/x×÷−"),
            st.sampled_from("+-*/x×÷−"),
            st.sampled_from(["", " "]),
        ),
        min_size=1,
        max_size=4,
    ),
    st.integers(0, 100),
)
def test_every_exercise_is_exact_whatever_the_sums_look_like(
    shapes: list[tuple[list[str], str, str, str]], seed: int
) -> None:
    """Worked out again by Python itself: no result is off by anything."""
    python = str.maketrans({"x": "*", "×": "*", "÷": "/", "−": "-", "$": None, " ": None})
    texts = ["1+1 = 2"]
    for operands, first, second, space in shapes:
        signs = [first, second] * 2
        left = operands[0] + "".join(
            f"{space}{sign}{space}{own}" for sign, own in zip(signs, operands[1:], strict=False)
        )
        value = exactly(ast.parse(left.translate(python), mode="eval").body)
        if (value * 100).denominator == 1:
            texts.append(f"So {left} = {float(value):.2f} in all.")
    for question, answer in exercises(texts, 3, seed):
        *lines, label = answer.split("\n")
        for line in lines:
            left, result = line.split("=")
            assert left.strip() in question
            assert exactly(ast.parse(left.strip().translate(python), mode="eval").body) == Fraction(result.strip(" $"))
        assert label == f"#### {lines[-1].split('=')[1].strip(' $')}"
