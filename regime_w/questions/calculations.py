"""The calculations of an annotated rationale, and the numbers that go into them.

    calculations("She sold 48/2 = <<48/2=24>>24 clips.")     # [Equation(48/2, 24, position 16)]

GSM8K writes them as `48/2 = <<48/2=24>>24`; those without an annotation, `48/2 = 24`, count too.
"""

import ast
import re
from collections.abc import Iterable
from fractions import Fraction
from typing import NamedTuple

from regime_w.method.arithmetic import evaluate, exact, parse, shown, value_of
from regime_w.method.sums import tree_of, written_sums

ANNOTATION = re.compile(r"<<([^<>=]*)=([^<>=]*)>>")
ANY_ANNOTATION = re.compile(r"<<[^<>]*>>")
RESULT = re.compile(r"= ?\$?([0-9.])")
# `6x5` is two numbers.
NUMBER = re.compile(r"(?:(?<![\w.,])|(?<=[0-9]x))(?:(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)")


class Equation(NamedTuple):
    """A calculation: its left side, the value that had, and where in the answer its result stands."""

    tree: ast.expr
    value: Fraction
    position: int


def calculations(rationale: str) -> list[Equation] | None:
    """The calculations of a rationale in their order, annotated and not; None where an annotation is not exact, or a number
    stands behind a `=` that is no calculation's: it may be any number's."""
    plain = without_annotations(rationale)
    found = {}
    for own in written_sums(plain):
        if own.usual and own.value == own.stated > 0 and exact(own.value) and (tree := tree_of(own.left)):
            found[own.at] = Equation(tree, own.value, own.at)
    removed = 0
    for match in ANY_ANNOTATION.finditer(rationale):
        position = match.start() - removed
        removed += len(match[0])
        if not (annotation := ANNOTATION.fullmatch(match[0])):
            continue
        tree, right = parse(annotation[1]), numbers(annotation[2])
        if tree is None or len(right) != 1:
            return None
        value = evaluate(tree, {})
        if value != right[0] or not (value > 0 and exact(value)):
            return None
        if not isinstance(tree, ast.Constant):
            found[position] = Equation(tree, value, position)
        elif not any(equation.value == value for equation in found.values() if equation.position <= position):
            return None  # worked out in the head
    if any(match.start(1) not in found for match in RESULT.finditer(plain)):
        return None
    return [found[position] for position in sorted(found)]


def given_numbers(equations: Iterable[Equation]) -> set[Fraction]:
    """The numbers that go into the calculations from outside."""
    literals: set[Fraction] = set()
    results: set[Fraction] = set()
    for equation in equations:
        literals |= operands(equation) - results
        results.add(equation.value)
    return literals


def operands(equation: Equation) -> set[Fraction]:
    return set(constants(equation.tree))


def constants(tree: ast.expr) -> list[Fraction]:
    return [Fraction(str(node.value)) for node in ast.walk(tree) if isinstance(node, ast.Constant)]


def shares_of(percent: Fraction) -> list[Equation]:
    """What a rationale may write for 20 %: 0.2; for 20 % less or more 0.8 and 1.2, or 80 and 120."""
    written = shown(percent)
    lefts = (f"{written}/100", f"1-{written}/100", f"1+{written}/100", f"100-{written}", f"100+{written}")
    trees = [tree for left in lefts if (tree := parse(left))]
    return [Equation(tree, evaluate(tree, {}), 0) for tree in trees]


def without_annotations(text: str) -> str:
    return ANY_ANNOTATION.sub("", text)


def numbers(text: str) -> list[Fraction]:
    return [value_of(written) for written in NUMBER.findall(text)]
