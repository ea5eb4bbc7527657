"""Exact arithmetic on written expressions and numbers.

evaluate(parse("48/2 + 1,000"), {})         # Fraction(1024)
shown(Fraction(21, 2), cents=True)          # "10.50"
"""

import ast
import operator
import re
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache

NUMBER = r"[0-9][0-9,]*(?:\.[0-9]+)?"  # as most texts write it
LONGEST = 200  # characters of an expression
OPERATIONS: dict[type, Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def parse(left: str) -> ast.expr | None:
    """The expression, of numbers and the four operations alone; None for anything else."""
    if len(left) > LONGEST:
        return None
    try:
        tree = ast.parse(re.sub(r"(?<![\d.])0+(?=\d)", "", left.strip().replace(",", "")), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
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


@lru_cache(maxsize=100_000)
def calculate(expression: str) -> Fraction | None:
    """The value of an expression, None where it has none."""
    return None if (tree := parse(expression)) is None else evaluate(tree, {})


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
