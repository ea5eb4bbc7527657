"""Written sums: what is wrong is found where it stands, what is right or cannot be told is left alone."""

import operator
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regime_w.method.sums import exact, first_slip, holds, parse, shown


def test_written_sums_are_checked():
    assert holds("so 48+24 = 72, $3 x 4 = $12 and 10/4 = 2.5")
    assert holds("10/3 = 3.33")
    assert not holds("so 48+24 = 73")
    assert not holds("he has 6x5=31")


def test_expressions_are_numbers_and_four_operations():
    assert parse("2*(3+4)/.5") is not None
    assert parse("007+1") is not None
    for bad in ("2**3", "a+1", "f(2)", "1 if 2 else 3", "2//1", "-3", "'a'*3", "1e400j", "1/0", "(" * 500, ""):
        assert parse(bad) is None


@pytest.mark.parametrize(
    ("text", "mended"),
    [
        ("48/2 = 26 clips.", "48/2 = 24 clips."),
        ("48/2 = 24, so 48+24 = 62 and 62-2 = 61.", "48/2 = 24, so 48+24 = 72 and 62-2 = 61."),
        ("It costs $5 + $3.50 = $9.50.", "It costs $5 + $3.50 = $8.50."),
        ("3 * 60/100 = $18", "3 * 60/100 = $1.8"),
        ("3 x $0.50 = $1.00", "3 x $0.50 = $1.50"),
        ("500 x 9 = 4,600 m", "500 x 9 = 4,500 m"),
        ("2*3 = 7, and", "2*3 = 6, and"),
        ("1,000*12=1200", "1,000*12=12000"),
        ("Step 1: 3*9=28.\nStep 2: 28-5=23.", "Step 1: 3*9=27.\nStep 2: 28-5=23."),
    ],
)
def test_a_wrong_result_is_put_right(text, mended):
    slip = first_slip(text)
    assert text[: slip.start] + slip.right + text[slip.end :] == mended


@pytest.mark.parametrize(
    "text",
    [
        "no sum", "2+2 = 4", "10/3 = 3.33", "2+2 = 4 = 5", "5 + 3 = 8 + 2 = 10", "3/0 = 3",
        "5-6 = 6", "60/67 = 4",  # nothing that could stand there: the plan is wrong, not the arithmetic
        "5-6 = 6, then 2+2 = 5",  # and what comes after it follows from that
        "1+1 = " + "9" * 5000, "+".join("1" * 3000) + " = 7",
    ],
)  # fmt: skip
def test_no_slip_where_nothing_can_be_put_right(text):
    assert first_slip(text) is None


NUMBERS = st.integers(1, 99_999).map(lambda cents: shown(Fraction(cents, 100)))
OPERATIONS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}


@given(NUMBERS, st.sampled_from("+-*/"), NUMBERS, NUMBERS)
def test_any_mended_sum_holds(left, operation, right, stated):
    text = f"so {left}{operation}{right} = {stated} eggs"
    value, slip = OPERATIONS[operation](Fraction(left), Fraction(right)), first_slip(text)
    wrong = abs(value - Fraction(stated)) > Fraction(1, 100)
    assert (slip is not None) == (wrong and value > 0 and exact(value))
    if slip:
        assert text[slip.start : slip.end] == stated
        assert Fraction(slip.right) == value
        assert holds(text[: slip.start] + slip.right + text[slip.end :])
