"""Sums that a text writes out, `48/2 = 24`, and whether they are right.

    first_slip("She sold 48/2 = 26 clips.\\nThen 48+26 = 74.")    # Slip(start=16, end=18, right="24")

A sum has two numbers or more, `+`, `-`, `*`, `x` or `/` between them, and one number behind its `=`; what goes on from there,
`2+2 = 4+1 = 5`, is left alone.
"""

import ast
import operator
import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import NamedTuple

NUMBER = r"[0-9][0-9,]*(?:\.[0-9]+)?"
WRITTEN = rf"\$?{NUMBER}"
SUM = re.compile(
    rf"(?<![\w.,+*/=$-])(?<![-+*/x=] )({WRITTEN}(?: ?[-+*/x] ?{WRITTEN})+) ?= ?({WRITTEN})(?!\.?\d| ?[-+*/x])"
)
LONGEST = 200  # characters of an expression
ROUNDED = Fraction(1, 100)  # off by no more than this is right
OPERATIONS: dict[type, Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


class Slip(NamedTuple):
    """A wrong result: where it stands in the text, without a `$`, and what it should be."""

    start: int
    end: int
    right: str


def first_slip(text: str) -> Slip | None:
    """The first sum of a text that is wrong, None where all are right.

    None too where its right result could not stand there: it is not positive, or has more than two decimals. There the
    sum is wrong for another reason than arithmetic.
    """
    for match, value in wrong_sums(text):
        if value <= 0 or not exact(value):
            return None
        old = match[2].strip("$,")
        start = text.index(old, match.start(2))
        return Slip(start, start + len(old), shown(value, has_cents(old), commas="," in old))
    return None


def holds(text: str) -> bool:
    """Whether the sums that a text writes out are right, to a hundredth."""
    return next(wrong_sums(text), None) is None


def wrong_sums(text: str) -> Iterator[tuple[re.Match[str], Fraction]]:
    """The written sums that are off, and what they come to."""
    return ((match, value) for match, value in written_sums(text) if abs(value - stated(match)) > ROUNDED)


def written_sums(text: str) -> Iterator[tuple[re.Match[str], Fraction]]:
    """The sums that a text writes out, left side and result as groups, and what they come to."""
    for match in SUM.finditer(text):
        if len(match[2]) <= LONGEST and (tree := parse_written(match[1])) is not None:
            yield match, evaluate(tree, {})


def stated(match: re.Match[str]) -> Fraction:
    """The result that a sum gives."""
    return value_of(match[2].removeprefix("$"))


def parse_written(left: str) -> ast.expr | None:
    """`parse` of a left side as texts write it, `3 x $4`."""
    return parse(left.replace("x", "*").replace("$", ""))


def parse(left: str) -> ast.expr | None:
    """The expression, of numbers and the four operations alone; None for anything else."""
    if len(left) > LONGEST:
        return None
    try:
        tree = ast.parse(re.sub(r"(?<![\d.])0+(?=\d)", "", left.strip().replace(",", "")), mode="eval").body
    except (SyntaxError, ValueError, RecursionError):
        return None
    for node in ast.walk(tree):
        if isinstance(node, ast.BinOp):
            known = type(node.op) in OPERATIONS
        else:
            known = isinstance(node, ast.operator) or (
                isinstance(node, ast.Constant) and type(node.value) in (int, float)
            )
        if not known:
            return None
    try:
        evaluate(tree, {})
    except ZeroDivisionError:
        return None
    return tree


def evaluate(tree: ast.expr, values: dict[Fraction, Fraction]) -> Fraction:
    """Its exact value, numbers that `values` knows replaced; ZeroDivisionError."""
    if isinstance(tree, ast.BinOp):
        return OPERATIONS[type(tree.op)](evaluate(tree.left, values), evaluate(tree.right, values))
    assert isinstance(tree, ast.Constant)
    value = Fraction(str(tree.value))
    return values.get(value, value)


def value_of(written: str) -> Fraction:
    return Fraction(written.replace(",", ""))


def exact(value: Fraction) -> bool:
    """Whether it has at most two decimals."""
    return (value * 100).denominator == 1


def has_cents(written: str) -> bool:
    return bool(re.search(r"\.\d\d$", written))


def shown(value: Fraction, cents: bool = False, commas: bool = False) -> str:
    """Decimal notation of a number of at most two decimals; with `cents` both of them, where it has any; with `commas`
    between thousands."""
    group = "," if commas else ""
    if value.denominator == 1:
        return f"{value.numerator:{group}}"
    text = f"{float(value):{group}.2f}"
    return text if cents else text.rstrip("0")
