"""The same word problem with other numbers, worked out again by the calculator annotations of its rationale.

    template = read(question, answer)           # None where it cannot be told which number goes where
    template.vary(random.Random(0))             # ("Tom has 7 bags of 12 ...", "7*12 = 84 ...\\n#### 84"), None without luck

GSM8K writes every calculation as `48/2 = <<48/2=24>>24`, so that a question's numbers, the results made from them and the
answer hang together in a graph. New numbers go into the question, the results follow, and both stand in the rationale where
the old ones stood. (Numerical variation, as GSM-Plus, 2402.19255, and MuggleMath, 2310.05506, make it with a language model.)

Only what is certain is varied. A question is left out where its annotations are not exact, where its rationale holds a
number that they do not explain, or where a number could be two things: one in the question that is a result too, or two
results that part. A number stays as it is where other words depend on it: 1 and 0, years, times, fractions, `3rd`, and one
that a word of the question may mean as well (`week` and 7, `half` and 2).
"""

import ast
import random
import re
from fractions import Fraction
from typing import NamedTuple

from scripts.regime_w.sums import evaluate, exact, has_cents, holds, parse, shown, value_of

ANNOTATION = re.compile(r"<<([^<>=]*)=([^<>=]*)>>")
ANY_ANNOTATION = re.compile(r"<<[^<>]*>>")
# `6x5` is two numbers.
NUMBER = re.compile(r"(?:(?<![\w.,])|(?<=[0-9]x))(?:(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)")
# What a number in a question must not touch: a letter, a fraction's or time's other half, a power.
TOUCHING = re.compile(r"[A-Za-z/:^]|-[A-Za-z]*-old|(?:st|nd|rd|th)\b")
WORDS = {
    2: "half halves two second twice double doubles doubled couple pair pairs both",
    3: "three third thirds thrice triple triples tripled",
    4: "four fourth fourths quarter quarters quadruple",
    5: "five fifth fifths nickel nickels weekday weekdays",
    6: "six sixth",
    7: "seven week weeks weekly",
    8: "eight",
    9: "nine",
    10: "ten tenth tens dime dimes decade decades",
    11: "eleven",
    12: "twelve dozen dozens month months monthly year years yearly annual annually foot feet",
    24: "day days daily hour hours",
    25: "quarter quarters",
    30: "thirty month months monthly",
    52: "week weeks weekly year years yearly",
    60: "second seconds minute minutes hour hours",
    100: "hundred century percent percentage cent cents",
    365: "day days year years",
    1000: "thousand kilogram kilograms kilometer kilometers",
}
YEARS = range(1700, 2101)
MANY_DIGITS = re.compile(r"[0-9]{16}")
STEPS = [Fraction(step) for step in (1000, 500, 100, 50, 10, 5, 1, "1/2", "1/4", "1/10", "1/20", "1/100")]
LEAST_CHOICES = 8  # between which a new number is drawn, where its step allows it
TRIES = 300
LARGER = 4  # a result's size against the old one's, at most; smaller ones may be of any size
ALWAYS_LIKE = 50


class Equation(NamedTuple):
    """An annotation: its left side, and the value that had."""

    tree: ast.expr
    value: Fraction


class Template(NamedTuple):
    """`free`: the question's numbers that may change, with the step of each; `fixed`: numbers that mean the same always."""

    question: str
    answer: str  # without annotations
    free: dict[Fraction, Fraction]
    percent: frozenset[Fraction]
    fixed: frozenset[Fraction]
    equations: tuple[Equation, ...]

    def vary(self, rng: random.Random) -> tuple[str, str] | None:
        """Question and answer with new numbers, or None where none that fit were found."""
        for _ in range(TRIES):
            new = {old: draw(old, step, old in self.percent, rng) for old, step in self.free.items()}
            if any(old == value for old, value in new.items()) or len(set(new.values())) < len(new):
                continue
            values = self._worked_out(new)
            if values is not None and holds(answer := substitute(self.answer, values)):
                return substitute(self.question, values), answer
        return None

    def _worked_out(self, new: dict[Fraction, Fraction]) -> dict[Fraction, Fraction] | None:
        """Every number's new value; None where a result is of another kind than the old one."""
        known = {value: value for value in self.fixed} | new
        for tree, old in self.equations:
            try:
                value = evaluate(tree, known)
            except ZeroDivisionError:
                return None
            if known.get(old, value) != value or not alike(old, value):
                return None
            known[old] = value
        return known


def read(question: str, answer: str) -> Template | None:
    """The template of a question and its annotated answer, or None where it is not certain."""
    rationale, mark, label = answer.rpartition("####")
    if not mark or MANY_DIGITS.search(question + answer):
        return None
    asked, final, plain = numbers(question), numbers(label), without_annotations(answer)
    calculated = calculations(rationale, set(asked))
    if calculated is None or len(final) != 1:
        return None
    equations, literals = calculated
    results = {equation.value for equation in equations}
    explained = results | literals | set(asked)
    if final[0] not in results or not set(numbers(plain)) <= explained or not holds(plain):
        return None
    stuck = tied(question, rationale)
    known = {*asked, *stuck, *(1 / value for value in stuck if value), Fraction(1), Fraction(100)}
    if not literals <= known:
        return None  # worked out in the head
    free = {value: step for value in asked if value in literals and value not in stuck and (step := step_of(value))}
    if not free:
        return None
    percent = frozenset(value for value in free if re.search(rf"(?<![\d.]){shown(value)} ?(?:%|percent)", question))
    fixed = frozenset(explained - results - free.keys())
    return Template(question, plain, free, percent, fixed, tuple(equations))


def calculations(rationale: str, asked: set[Fraction]) -> tuple[list[Equation], set[Fraction]] | None:
    """The annotations' equations and the numbers that go into them from outside; None where one is not exact, or a number is
    both given and worked out."""
    equations: list[Equation] = []
    literals: set[Fraction] = set()
    for left, right in ANNOTATION.findall(rationale):
        tree, stated = parse(left), numbers(right)
        if tree is None or len(stated) != 1:
            return None
        value, results = evaluate(tree, {}), {equation.value for equation in equations}
        if value != stated[0] or not (value > 0 and exact(value)):
            return None
        if isinstance(tree, ast.Constant):
            if value not in results:
                return None  # worked out in the head
            continue
        literals |= {Fraction(str(node.value)) for node in ast.walk(tree) if isinstance(node, ast.Constant)} - results
        if value in literals | asked:
            return None
        equations.append(Equation(tree, value))
    return equations, literals


def without_annotations(text: str) -> str:
    return ANY_ANNOTATION.sub("", text)


def numbers(text: str) -> list[Fraction]:
    return [value_of(written) for written in NUMBER.findall(text)]


def tied(question: str, rationale: str) -> set[Fraction]:
    """Numbers of a question that have to stay."""
    words = set(re.findall(r"[a-z']+", f"{question} {rationale}".lower()))
    stuck = {Fraction(number) for number, names in WORDS.items() if words & set(names.split())}
    for match in NUMBER.finditer(question):
        value = value_of(match.group())
        before, after = question[: match.start()][-1:], question[match.end() :]
        if value in (0, 1) or value in YEARS or TOUCHING.match(after) or before in ("/", ":", "#", "-", "^"):
            stuck.add(value)
    return stuck


def step_of(value: Fraction) -> Fraction | None:
    """The roundness of a number, which its successor shares: 50 for 350, 1 for 7, 0.25 for 1.75."""
    fitting = [step for step in STEPS if (value / step).denominator == 1 and step.denominator <= value.denominator]
    wide = [step for step in fitting if value / step >= LEAST_CHOICES / 2]
    return wide[0] if wide else min(fitting, default=None)


def draw(old: Fraction, step: Fraction, percent: bool, rng: random.Random) -> Fraction:
    """A number of the same roundness, between half and twice the old one, small ones a little further."""
    low, high = max(step, old / 2), max(old * 2, LEAST_CHOICES * step)
    if percent and old < 100:
        high = min(high, Fraction(95))
    first, last = -(-low // step), high // step
    value = rng.randint(int(first), int(last)) * step
    return value if value != 1 else old


def alike(old: Fraction, value: Fraction) -> bool:
    """Whether a result may stand in the place of another: positive, no more decimals, a share still a share, of a like size."""
    if value <= 0 or not exact(value) or (old.denominator == 1 and value.denominator != 1):
        return False
    if (old < 1) != (value < 1) or (value == 1 and old != 1):
        return False
    return value <= LARGER * old or value <= ALWAYS_LIKE


def substitute(text: str, values: dict[Fraction, Fraction]) -> str:
    """The text with each number's new value, written as the old one was."""

    def new(match: re.Match[str]) -> str:
        written = match.group()
        old = value_of(written)
        value = values[old]
        if value == old:
            return written
        text = shown(value, has_cents(written), commas="," in written or (value >= 10_000 and old < 1000))
        return text[1:] if written.startswith(".") and text.startswith("0.") else text

    return NUMBER.sub(new, text)
