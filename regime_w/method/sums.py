"""Sums that a text writes out, `48/2 = 24`, and whether they are right.

    first_slip("She sold 48/2 = 26 clips.\\nThen 48+26 = 74.")    # Slip(start=16, end=18, right="24")

A sum has an expression of two numbers or more on the left of its `=` and one number on the right: `+`, `-`, `*`, `/` in all
their spellings (`x`, `×`, `÷`, `\\times`), brackets, powers, percents, mixed numbers (`1 1/2`), thousands (`1,000`, `1 000`)
and decimal commas. Of a chain, `2+2 = 4+1 = 5`, the steps that end in one number are read.

A sum is called wrong only where no way to read it makes it right (regime_w/method/readings.py). What cannot be read with
certainty is no sum: a time, a variable, a word that calculates (`half of 6+4 = 5`), a result that words go on with.
"""

import ast
import re
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from itertools import takewhile
from typing import NamedTuple

from regime_w.method.arithmetic import LONGEST, calculate, exact, has_cents, parse, shown
from regime_w.method.notation import MATHS, Token, expression, has_decimal_comma, loosely_written, tokens
from regime_w.method.readings import BEFORE, BEHIND, LABELS, PHRASE, Written, is_near, may_be_right

GOES_ON = tuple("+-*/=×÷−–")  # where a line ends in one, the next goes on with its sum

ELSEWHERE = re.compile(r"\bbase\b|\bmod(?:ulo)?\b")  # numbers that do not count in tens
PLAIN = re.compile(
    r"(?:^|(?<=[a-wyz:(] ))\$?([0-9]{1,15}) ?([-+*/x]) ?\$?([0-9]{1,15}) ?= ?\$?([0-9]{1,15})(?=[.,]?(?: [A-Za-z(]|$))(?! x )"
)
BELOW = re.compile(r"[ $]*\n\s*([-+*/])[ ]?[$(0-9]")
HOLDS: dict[str, Callable[[int, int, int], bool]] = {
    "+": lambda one, other, result: one + other == result,
    "-": lambda one, other, result: one - other == result,
    "*": lambda one, other, result: one * other == result,
    "x": lambda one, other, result: one * other == result,
    "/": lambda one, other, result: other * result == one and other > 0,
}


class Slip(NamedTuple):
    """A wrong result: where it stands in the text, without a `$`, and what it should be."""

    start: int
    end: int
    right: str


class Sum(NamedTuple):
    """A sum that a text writes out: `left`, from `start`, comes to `value`; the result stands at `at`, without a `$`."""

    start: int
    left: str
    value: Fraction
    at: int
    result: str
    stated: Fraction
    dollars: bool  # whether there is a `$` before the result
    usual: bool  # numbers like 1,000.50
    wrong: bool


def first_slip(text: str) -> Slip | None:
    """The first sum of a text that is wrong, None where all are right.

    None too where its right result could not stand there: it is not positive, has more than two decimals, or another
    notation than 1,000.50. In the first two cases the sum is wrong for another reason than arithmetic.
    """
    for own in wrong_sums(text):
        if own.value <= 0 or not exact(own.value) or not own.usual:
            return None
        right = shown(own.value, has_cents(own.result), commas="," in own.result)
        return Slip(own.at, own.at + len(own.result), right)
    return None


def holds(text: str) -> bool:
    """Whether the sums that a text writes out are right, to a hundredth."""
    return next(wrong_sums(text), None) is None


def wrong_sums(text: str) -> Iterator[Sum]:
    """The written sums that are off however they are read."""
    return (
        own for start, line in _lines(text) if not _plainly_right(line) for own in _sums(text, start, line) if own.wrong
    )


def written_sums(text: str) -> Iterator[Sum]:
    """The sums that a text writes out, in their order."""
    return (own for start, line in _lines(text) for own in _sums(text, start, line))


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines that may hold a sum, with where they start."""
    start, last = 0, ""
    for line in text.split("\n"):
        if "=" in line and not last.endswith(GOES_ON) and not ELSEWHERE.search(line):
            yield start, line
        start, last = start + len(line) + 1, line.rstrip() or last


def _plainly_right(line: str) -> bool:
    """Whether a line holds right sums of two whole numbers and no others: most do, and reading takes a hundred times as long."""
    return line.count("=") == sum(
        HOLDS[sign](int(one), int(other), int(result)) for one, sign, other, result in PLAIN.findall(line)
    )


def _sums(text: str, start: int, line: str) -> Iterator[Sum]:
    row = tokens(text, start, start + len(line))
    for place, token in enumerate(row):
        if token.kind == "equals" and (own := _read(text, row, place)) is not None:
            yield own


def tree_of(left: str) -> ast.expr | None:
    """The expression of a left side as texts write it, `3 x $4`, `2 × 1 1/2`; None where it is none."""
    found = _expression(tokens(left))
    return None if found is None else parse(found)


def is_clear(left: str) -> bool:
    """Whether nothing in a left side could be read otherwise: no `60 / 3/4`, `5 100+2` or `2 1/2`."""
    row = tokens(left)
    return not loosely_written(row) and all(token.usual for token in row)


def _read(text: str, row: list[Token], place: int) -> Sum | None:
    """The sum on both sides of an `=`."""
    left, right = _left_side(row, place), _right_side(row, place)
    if left is None or right is None or (value := _value(left)) is None:
        return None
    marks = [token for token in right if token.kind != "money"]
    negative, percent = marks[0].text == "-", marks[-1].kind == "percent"
    marks = marks[negative : len(marks) - percent]
    if [token.kind for token in marks] != ["number"]:
        return None
    (result,) = marks
    written = Written(left, result, -1 if negative else 1, percent, right[0].kind == "money")
    stated = written.stated(result.readings[0], percent)
    wrong = not is_near(value, stated, written)
    if wrong:
        behind = place + 1 + len(right)
        before = _phrase(row, place - len(left))
        if (
            any(map(has_decimal_comma, (*left, result)))
            or _goes_on_below(text, row, result.end)
            or may_be_right(written, before, row[behind : behind + PHRASE], value)
        ):
            return None
    return Sum(
        start=left[0].start,
        left=text[left[0].start : left[-1].end],
        value=value,
        at=result.start,
        result=text[result.start : result.end],
        stated=stated,
        dollars=written.dollars,
        usual=result.usual and not percent and not negative,
        wrong=wrong,
    )


def _goes_on_below(text: str, row: Sequence[Token], end: int) -> bool:
    """Whether a result ends its line and the next line goes on with it: no bullet, unless this line has one too."""
    below = BELOW.match(text, end)
    return below is not None and not (row[0].text == below[1] and row[0].end < row[1].start)


def _phrase(row: Sequence[Token], first: int) -> list[Token]:
    """The last tokens before a place in the same phrase, in no order."""
    before = (row[place] for place in range(first - 1, max(-1, first - 1 - PHRASE), -1))
    return list(takewhile(lambda token: token.kind not in ("break", "equals"), before))


def _value(left: Sequence[Token]) -> Fraction | None:
    found = _expression(left)
    return None if found is None else calculate(found)


def _expression(left: Sequence[Token]) -> str | None:
    """The expression of a row of tokens; None where it has fewer than two numbers, is too long, or a date."""
    if any(token.kind not in MATHS for token in left) or sum(token.kind in ("number", "square") for token in left) < 2:
        return None
    is_date = len(left) == 5 and left[1].text == left[3].text == "/" and len(left[4].text) == 4
    if is_date or left[-1].end - left[0].start > LONGEST:
        return None
    return expression(left)


def _left_side(row: Sequence[Token], place: int) -> list[Token] | None:
    """The expression that ends before an `=`, if nothing before it belongs to it."""
    first, depth = place, 0
    while first and row[first - 1].kind in MATHS:
        depth += (row[first - 1].kind == "close") - (row[first - 1].kind == "open")
        if depth < 0:
            break  # `(2+2 = 4)`
        first -= 1
    while depth > 0:  # `1) 2+2 = 4`
        depth -= row[first].kind == "close"
        first += 1
        if not depth and not (first == 2 or row[first - 3].kind in ("break", "open")):
            return None
    left = list(row[first:place])
    fresh = not first or row[first - 1].kind == "break"
    if left and fresh and left[0].text == "^":
        first, left = first + 1, left[1:]  # `**2+2 = 4**`
    elif len(left) > 1 and not first and left[0].text in ("*", "-", "+") and left[0].end < left[1].start:
        first, left = first + 1, left[1:]  # `- 2+2 = 4`
    if not left or (left[0].kind == "sign" and not fresh) or not _begins(row, first):
        return None
    return left


def _begins(row: Sequence[Token], first: int) -> bool:
    """Whether an expression may begin here: nothing before it calculates with it."""
    if not first or row[first - 1].kind == "equals":
        return True
    one = row[first - 1]
    two = row[first - 2] if first > 1 else None
    if one.kind == "break":
        if two and two.kind in ("sign", "equals"):
            return False
        # `14, 400 / 80`
        return not (one.text == "," and two and two.kind == "number" and len(row[first].text) == 3)
    if one.kind in ("sign", "close"):
        return True  # a bullet or `1)`, see above
    if one.kind == "open":
        return two is None or two.kind in ("break", "open") or (two.kind == "word" and two.end < one.start)
    if one.kind != "word":
        return False
    word = one.text.lower()
    if word in BEFORE or word in LABELS or (len(word) == 1 and word not in "ai") or one.end == row[first].start:
        return False
    if two is None or (two.end < one.start and word not in ("of", "and", "to", "the")):
        return True
    return two.kind not in ("number", "percent", "close") and two.text.lower() not in BEFORE


def _right_side(row: Sequence[Token], place: int) -> list[Token] | None:
    """The maths that begins behind an `=`, if nothing behind it belongs to it."""
    end, depth = place + 1, 0
    while end < len(row) and row[end].kind in MATHS:
        depth += (row[end].kind == "open") - (row[end].kind == "close")
        if depth < 0:
            break
        end += 1
    right = list(row[place + 1 : end])
    if right and right[0].text == "^":
        right = right[1:]  # `= **4**`
    after = row[end] if end < len(row) else None
    if right and (right[-1].text == "^" or (right[-1].text == "*" and (after is None or after.kind == "break"))):
        right = right[:-1]
    if all(token.kind == "money" for token in right) or (
        after is not None and (after.kind == "other" or after.text.lower() in BEHIND)
    ):
        return None
    return right
