"""Answers: where they are found, what they mean, and that no text breaks or slows the reading of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regime_w.tasks.answers import (
    equal,
    extract,
    gold_from_rationale,
    math_verify_agrees,
    normalise,
    number_of_digits,
    reasoning_part,
)
from regime_w.tasks.marks import cut
from tools.growth import hostile_texts

# Texts on which a common checker was seen to fail, with the right grade here; the span follows `#### `.
HARD_SPANS = [
    ("18", "$18 per day, so $126 per week", True),
    ("126", "$18 per day, so $126 per week", False),
    ("50", "50%", True),
    ("0.5", "50%", False),
    ("-10", "−10", True),
    ("18", "US$18", True),
    ("18", "eighteen", False),
    ("18", "<number>", False),
    ("2.5", "2 1/2", True),
    ("1000000", "1 million", True),
    ("1", "1 million", False),
    ("5", "5:00 PM", False),
    ("5", "5 PM", True),
    ("5", "5 apples per 2 days", False),
    ("6", "6 or 7", False),
    ("7", "6 or 7", False),
    ("6", "6, 7", False),
    ("6", "6–7", False),
    ("6", "x = 6 or x = 7", False),
    ("20", "20 /", False),
    ("5000", "5.000", False),
    ("5", "5.000", True),
    ("5000", "5,000.00", True),
    ("1218", "1\u202f218", True),
    ("1218", "1 218", True),
    ("12", "**12**", True),
    ("12", r"12 \text{ dollars}", True),
    ("1218", "1,218.", True),
    ("10000", "1,00,00", False),
    ("18", "6 * 3 = $18.00 a day", True),
    ("-3", "-$3", True),
    ("100000", "1e5", False),
    ("2.5", "2½", True),
    ("2", "2½", False),
]

# What follows `#### `, and the one number that it states: by the kind of what was read wrongly once.
SPANS = {
    "scaled": [
        ("20k", "20000"), ("15k", "15000"), ("15K dollars", "15000"), ("$2.5M", "2500000"), ("$5m", "5000000"), ("$5m$", "5"),
        ("36m", "36"), ("20km", "20"), ("20 k", "20000"), ("300 K", "300"), ("5B", "5000000000"), ("1.5bn", "1500000000"),
        ("3 mln", "3000000"), ("5T", "5"), ("3万", "30000"), ("2亿元", "200000000"), ("5 lakh", "500000"),
        ("₹2 crore", "20000000"), ("3 hundred", "300"), ("2 hundred thousand", "200000"), ("2 million 500 thousand", None),
    ],
    "dozens": [("12 dozen", "144"), ("2 dozens of eggs", "24"), ("1.5 dozen", "18")],
    "mixed": [
        ("2 and a half", "2.5"), ("2 and a half million", "2500000"), ("½", "0.5"), ("1 and 3/4 cups", "1.75"),
        ("minus 2 and a half", "-2.5"), ("2 million and a half", None),
    ],
    "units": [
        ("36 m^2", "36"), ("36 m²", "36"), ("36 ft2", "36"), ("36 cm^{2}", "36"), ("5 units^2", "5"), ("5 m/s^2", "5"),
        ("60 km/h", "60"), ("20 °C", "20"), ("98.6°F", "98.6"), ("36 x^2", None), ("2^3", None), ("2x3", None), ("2π", None),
        ("20 kg·m", "20"), ("36 square feet", "36"), ("4 m 2", None),
    ],
    "currencies": [
        ("₹500", "500"), ("¥500", "500"), ("R$500", "500"), ("Rs. 500", "500"), ("Rs 500", "500"), ("INR 500", "500"),
        ("A$ 1,200.50", "1200.5"), ("CHF 20", "20"), ("500 ₽", "500"), ("₦1,000", "1000"), ("RM20", "20"), ("-₹5", "-5"),
        ("kr. 20", "20"), ("R200", "200"), ("18 USD", "18"), ("500 rupees", "500"), ("＄１８", "18"),
    ],
    "signs": [
        ("minus 5", "-5"), ("negative 5", "-5"), ("minus $5", "-5"), ("− 5", "-5"), ("plus 5", "5"), ("minus -5", None),
    ],
    "glued": [
        ("2Style: exact.", None), ("18The", None), ("2Question: x", None), ("2answer: 2", None), ("**18**Style", None),
        ("5kg", "5"), ("100Mbps", "100"), ("12-inch", "12"), ("5th", "5"), ("5PM", "5"),
    ],
    "equations": [
        ("2=7", None), ("3+4=8", None), ("x = 2 = 7", None), ("3+4=7", "7"), ("10/3 = 3.33", "3.33"), ("100/3 = 33", "33"),
        ("0.2=0.7", None), ("18 = 18", "18"), ("x = 7", "7"), ("3 dozen = 36", "36"),
    ],
    "groups": [("0,111", None), ("1,5", None), ("00,100", None), ("1,000", "1000")],
}  # fmt: skip


@pytest.mark.parametrize(("gold", "span", "right"), HARD_SPANS)
def test_hard_spans(gold: str, span: str, right: bool) -> None:
    found = extract(f"Some steps with 3 + 4 = 7.\n#### {span}")
    assert equal(found.answer, gold) is right or found.method == "fallback"
    assert (found.method == "hash") == (found.answer is not None and found.method != "fallback")


@pytest.mark.parametrize("kind", SPANS)
def test_spans_by_kind(kind: str) -> None:
    found = {span: extract(f"Some steps with 3 + 4 = 7.\n#### {span}") for span, _ in SPANS[kind]}
    marked = {span: own.answer if own.method == "hash" else None for span, own in found.items()}
    assert marked == dict(SPANS[kind])


@pytest.mark.parametrize(
    ("content", "number"),
    [
        ("36\\text{ cm}^2", "36"), ("45^\\circ", "45"), ("45^{\\circ}", "45"), ("37^\\circ C", "37"),
        ("9.8\\ \\mathrm{m}/\\mathrm{s}^2", "9.8"), ("\\$1{,}800", "1800"), ("\\text{18 eggs}", "18"), ("x = 18", "18"),
        ("\\left(18\\right)", "18"),
        ("\\frac34", "0.75"), ("\\frac{3}{4}", "0.75"), ("2\\frac{1}{2}", "2.5"), ("-\\frac12", "-0.5"),
        # Formulas: a number in them is not the answer, not even for want of another.
        ("2\\pi", None), ("2\\sqrt{3}", None), ("\\sqrt{2}", None), ("10^3", None), ("2\\cdot3", None), ("(3,4)", None),
    ],
)  # fmt: skip
def test_boxes(content: str, number: str | None) -> None:
    assert extract(f"Then 3 + 4 = 7, so \\boxed{{{content}}}.").answer == number


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("#### 1. Cost\n6*3 = 18\n#### 2. Total\nIt is \\boxed{18}.", "18"),
        ("#### 1) Cost\n6*3 = 18\n#### 2) Total\nAnswer: 18", "18"),
        ("#### **1. Cost**\n6*3 = 18\n#### **2. Total**\n#### 18", "18"),
        ("#### 1 - Cost\n6*3 = 18\n#### 2 - Total\nAnswer: 18", "18"),
        ("#### 12 months total\n12*18 = 216\n\\boxed{216}", "216"),
        ("#### 18. So 18 in all.", "18"),
        ("#### 5 apples.\nDone.", "5"),
    ],
)
def test_headings_are_no_answers(text: str, answer: str) -> None:
    found = extract(text)
    assert found.answer == answer
    assert found.method in ("hash", "answer", "boxed")


def test_headings_alone_are_no_marks() -> None:
    assert extract("#### 1. Cost\n6*3 = 18\n#### 2. Total\nThe total is 18.") == ("18", "fallback", "18")
    assert extract("#### 1. Cost\n6*3 = 18\n#### 2. Total").method == "fallback"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("The answer is 2 1/2.", "2.5"), ("It took 2 and a half hours.", "2.5"), ("She eats 3/4 cups.", "0.75"),
        ("He pays 1 218 dollars.", "1218"), ("He pays 1,218 dollars.", "1218"),
        ("It costs 2 million.", "2000000"), ("The answer is 20k.", "20000"), ("They sold 3 dozen.", "36"),
        ("The cost is $92 after 36 months.", "92"), ("She pays $92 after 36 months.", "92"),
        ("The answer is $92 after 36 months.", "92"), ("The answer is 92. It took 36 months.", "92"),
        ("She has 8 of the 12 eggs left.", "8"), ("In 5 days he reads 20 pages.", "20"),
        ("He sold 5 apples and 3 pears, so 8 fruits.", "8"), ("That makes $18 per day, so $126 per week.", "126"),
        ("So 48 + 24 = 72 clips", "72"), ("The answer is minus 5.", "-5"), ("The answer is **18**.", "18"),
        ("The answer is $\\frac{3}{4}$.", "0.75"), ("2. Total\nThe total is 18.", "18"),
        # Several numbers, and no saying which.
        ("He has 5 apples and 3 pears.", None), ("It lasts 6-7 days.", None), ("It is 5:00 PM.", None),
        ("Therefore, Betty needs $5 more to buy a $100 wallet.", None), ("The answer is 6 or 7.", None),
        ("It is x = 3 + 1/2", None), ("It is $4,5,98,400.", None),
    ],
)  # fmt: skip
def test_unmarked_sentences(text: str, answer: str | None) -> None:
    found = extract(text)
    assert found.answer == answer
    assert found.method == ("none" if answer is None else "fallback")


@pytest.mark.parametrize(
    ("text", "answer", "method"),
    [
        ("... combined is $129,200. #### 129200", "129200", "hash"),
        ("so 18\n#### 18\n\nQuestion: another one\nAnswer: 3\n#### 12", "18", "hash"),
        ("so 7\n#### 7</s>\n#### 12", "7", "hash"),
        ("so 7\n#### 7<|im_end|> 12", "7", "hash"),
        ("#### 5\nNo, wait.\n#### 6", "6", "hash"),
        ("#### 5\nAnswer: 6 and \\boxed{7}", "5", "hash"),
        ("Answer: 6, not \\boxed{7}", "6", "answer"),
        ("**Final answer:** $18", "18", "answer"),
        ("Answer: 5. Final Answer: 6", "6", "answer"),
        ("Answer:\n\n18 eggs", "18", "answer"),
        ("#### Step 2: add\nAnswer: 9", "9", "answer"),
        ("thus \\boxed{\\frac{3}{4}} of it, \\boxed{12 \\text{ of } x}", "12", "boxed"),
        ("thus \\boxed{\\text{about} {x}} or 4", "4", "fallback"),
        ("He needs 20 /", "20", "fallback"),
        ("The answer is 18.", "18", "fallback"),
        ("#### eighteen, that is 9 + 9", None, "none"),
        ("#### 6 or 7", None, "none"),
        ("no number", None, "none"),
        ("", None, "none"),
        ("####", None, "none"),
        ("##### 5 is a heading, 6", "6", "fallback"),
    ],
)
def test_extract(text: str, answer: str | None, method: str) -> None:
    found = extract(text)
    assert (found.answer, found.method) == (answer, method)


def test_a_style_may_speak_of_questions() -> None:
    assert (
        cut("Question: first\nThe Question was hard.\n  Question 2: next") == "Question: first\nThe Question was hard."
    )


@pytest.mark.parametrize(
    ("text", "reasoning"),
    [
        ("48/2 = 24\n48 + 24 = 72\n#### 72", "48/2 = 24\n48 + 24 = 72"),
        ("It is 3. **Answer:** 3", "It is 3."),
        ("Hence \\boxed{3}.", "Hence"),
        ("Only words, 3</s> more", "Only words, 3"),
    ],
)
def test_reasoning_part(text: str, reasoning: str) -> None:
    assert reasoning_part(text) == reasoning


@pytest.mark.parametrize(
    ("raw", "canonical"),
    [
        ("18", "18"), ("0018", "18"), ("-0", "0"), ("+5", "5"), ("18.0", "18"), (".5", "0.5"), ("-0.250", "-0.25"),
        ("2/4", "0.5"), ("1/3", "1/3"), ("-1 1/3", "-4/3"), ("1/0", None), ("1 5/3", None), ("--5", None), ("1.2.3", None),
        ("€1,234.50", "1234.5"), ("2.5 thousand", "2500"), ("60 miles/hour", "60"), ("12-inch", "12"), ("", None),
        ("5 dollars and 50 cents", None), ("2^3", None), ("9" * 200, None),
    ],
)  # fmt: skip
def test_normalise(raw: str, canonical: str | None) -> None:
    assert normalise(raw) == canonical


def test_none_equals_nothing() -> None:
    assert not equal(None, None)
    assert not equal("no number", "no number")
    assert equal("1/2", "0.50")
    assert not equal("0.333333", "1/3")


def test_gold_from_rationale() -> None:
    assert gold_from_rationale("... = <<9*2=18>>1,080\n#### 1,080") == "1080"
    assert gold_from_rationale("first #### 1\n#### blue") == "blue"
    assert gold_from_rationale("no mark 5") == ""


@pytest.mark.parametrize(
    "digits", ["0", "7", "1234567890123456789012", "0.5", "12.00", "3.14159265358979323846264338", "-5", "1e5"]
)
def test_quick_numbers_are_sympys(digits: str) -> None:
    import sympy

    assert sympy.srepr(number_of_digits(digits)) == sympy.srepr(sympy.Number(digits))


def test_math_verify_is_asked_with_care() -> None:
    assert math_verify_agrees("12 \\text{ dollars}", "12") is True
    assert math_verify_agrees("5:00 PM", "5") is True  # the disagreement that scoring reports
    assert math_verify_agrees("13", "12") is False
    for span in ("9^9^9^9", "9**9**9", "99999!", "1e999999999", "1" * 100, ""):
        assert math_verify_agrees(span, "12") is None


@given(st.text(st.characters(), max_size=200) | st.text("0123456789 .,/-–−$%#{}\\=*:or\nAnswer", max_size=60))
def test_any_text_is_read(text: str) -> None:
    for candidate in (text, f"#### {text}", f"Answer: {text}", f"\\boxed{{{text}}}"):
        found = extract(candidate)
        reasoning_part(candidate)
        assert (found.method == "none") == (found.answer is None)
        assert found.answer is None or normalise(found.answer) == found.answer


@given(st.fractions(min_value=-(10**12), max_value=10**12, max_denominator=10**6))
def test_a_fraction_is_its_own_answer(value) -> None:
    written = normalise(f"{value.numerator}/{value.denominator}")
    assert written is not None
    assert extract(f"#### {written} dollars.").answer == written
    assert equal(written, f"{value.numerator}/{value.denominator}")


@given(st.integers(-(10**15), 10**15))
def test_integers_however_written(value: int) -> None:
    for form in (
        f"{value}",
        f"{value:,}",
        f"${value:,}.00",
        f"**{value}**",
        f"{value} apples.",
        f"{value:,}".replace(",", "\xa0"),
    ):
        assert normalise(form) == str(value)


MEGABYTE = 1_000_000


@pytest.mark.parametrize(
    "text", [*hostile_texts(MEGABYTE), "#### 1e999999999", "#### 1/" + "9" * 100_000], ids=lambda text: text[:12]
)
def test_hostile_text_is_read_to_its_end(text: str) -> None:
    """Of a megabyte: what grew with its square would take hours. `make growth` has the times."""
    found = extract(text)
    assert (found.answer is None) == (found.method == "none")
    assert len(found.answer or "") < 10_000
