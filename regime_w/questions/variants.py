"""The same word problem with other numbers, worked out again by the calculations of its rationale.

    template = read(question, answer)           # None where it cannot be told which number goes where
    template.vary(random.Random(0))             # ("Tom has 7 bags of 12 ...", "7*12 = 84 ...\\n#### 84"), None without luck

GSM8K writes calculations as `48/2 = <<48/2=24>>24`, so that a question's numbers, the results made from them and the answer
hang together in a graph; those without an annotation, `48/2 = 24`, count too. New numbers go into the question, the results
follow, and both stand in the rationale where the old ones stood. (Numerical variation, as GSM-Plus, 2402.19255, and
MuggleMath, 2310.05506, make it with a language model.)

Only what is certain is varied. A question is left out where its annotations are not exact, where its rationale holds a number
that no calculation explains, where a given number is a result as well, stands in no calculation or tells the time, where its
words are vague, and where two results part that were the same number. Numbers that something else depends on stay as they are
(regime_w/questions/stuck.py). New numbers are in the order of the old ones, results and the world's limits among them: what
was less than a price, part of a whole or 5 of 7 days still is.
"""

import random
import re
from collections import Counter
from collections.abc import Iterable
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

from regime_w.method.arithmetic import evaluate, exact, has_cents, shown, value_of
from regime_w.method.sums import holds
from regime_w.questions import world
from regime_w.questions.calculations import (
    NUMBER,
    Equation,
    calculations,
    constants,
    given_numbers,
    numbers,
    operands,
    shares_of,
    without_annotations,
)
from regime_w.questions.stuck import named, stuck, words_of

TIMES = re.compile(r"[0-9] ?(?:[ap]\.?m\b|o'? ?clock)|[0-9]:[0-9]|\b(?:noon|midnight)\b", re.IGNORECASE)
OTHERS = re.compile(r"\b(?:other|rest|remaining|another) (?:[a-z]+ )?\$?([0-9][0-9,]*)(?![0-9.])", re.IGNORECASE)
VAGUE = re.compile(
    r"\b(?:at (?:least|most)|approximately|roughly|(?:about|up to|around) (?=\$?[0-9])|at [0-9]+ ?% of|fold(?:s|ed)?\b)",
    re.IGNORECASE,
)
ASKED_UNIT = re.compile(
    r"how many ((?:milli|centi|kilo)?(?:gram|lit(?:er|re)|met(?:er|re))|inche|ounce|pound|minute|hour)s?\b"
)
KNOWN = (Fraction(1), Fraction(100), Fraction(1, 100))  # `.01` for a percent
MANY_DIGITS = re.compile(r"[0-9]{16}")
STEPS = [Fraction(step) for step in (1000, 500, 100, 50, 10, 5, 1, "1/2", "1/4", "1/10", "1/20", "1/100")]
LEAST_CHOICES = 8  # between which a new number is drawn, where its step allows it
TRIES = 300
LARGER = 4  # a result's size against the old one's, at most; smaller ones may be of any size
ALWAYS_LIKE = 50


class Template(NamedTuple):
    """`free`: the question's numbers that may change, with the step of each; `fixed`: other numbers that stay; `scales`:
    numbers that keep their order, smallest first."""

    question: str
    answer: str  # without annotations
    free: dict[Fraction, Fraction]
    percent: frozenset[Fraction]
    fixed: frozenset[Fraction]
    equations: tuple[Equation, ...]
    scales: tuple[tuple[Fraction, ...], ...]

    def vary(self, rng: random.Random) -> tuple[str, str] | None:
        """Question and answer with new numbers, or None where none that fit were found."""
        kept = {value: value for value in self.fixed}
        for _ in range(TRIES):
            new = {old: draw(old, step, old in self.percent, rng) for old, step in self.free.items()}
            if any(old == value for old, value in new.items()):
                continue
            given = kept | new
            if not self._in_order(given) or (results := self._worked_out(given)) is None:
                continue
            values = results | given
            if self._in_order(values) and holds(answer := substitute(self.answer, values)):
                return with_articles(substitute(self.question, given)), with_articles(answer)
        return None

    def _in_order(self, values: dict[Fraction, Fraction]) -> bool:
        """Whether these numbers are in the order of the old ones, percents less than a whole together if they were."""
        for scale in self.scales:
            new = [values[old] for old in scale if old in values]
            if any(one >= other for one, other in pairwise(new)):
                return False
        return (sum(self.percent) < 100) == (sum(values.get(old, old) for old in self.percent) < 100)

    def _worked_out(self, given: dict[Fraction, Fraction]) -> dict[Fraction, Fraction] | None:
        """Every result's new value; None where one is of another kind than the old one."""
        results: dict[Fraction, Fraction] = {}
        for equation in self.equations:
            try:
                value = evaluate(equation.tree, given | results)
            except ZeroDivisionError:
                return None
            if results.get(equation.value, value) != value or not alike(equation.value, value):
                return None
            results[equation.value] = value
        return results


def read(question: str, answer: str) -> Template | None:
    """The template of a question and its annotated answer, or None where it is not certain."""
    rationale, mark, label = answer.rpartition("####")
    both = f"{question} {rationale}"
    unit = ASKED_UNIT.search(question.lower())
    if not mark or (unit and unit[1] not in rationale.lower()):
        return None
    if MANY_DIGITS.search(question + answer) or TIMES.search(both) or VAGUE.search(question):
        return None
    asked, final, plain = numbers(question), numbers(label), without_annotations(answer)
    equations = calculations(rationale)
    if not equations or len(final) != 1 or not holds(plain):
        return None
    results = {equation.value for equation in equations}
    literals = given_numbers(equations)
    said = world.spelled(words_of(question))
    if final[0] not in results or results & literals.union(asked, said):
        return None  # a given number or a result?
    words, names = words_of(both), named(question)
    meant = world.meant(words) | {Fraction(100) for sign in "%" if sign in both}
    uses = Counter(value for equation in equations for value in constants(equation.tree))
    if any(
        uses[value] > (0 if value in KNOWN or value in meant else 1)
        for value in results & (world.near(words) | set(KNOWN))
    ):
        return None  # a result or a constant?
    if any(value_of(match[1]) in results for match in OTHERS.finditer(rationale)) or world.MEASURED & set(words):
        return None  # one result or another?
    percent = frozenset(value for value in asked if re.search(rf"(?<![\d.]){shown(value)} ?(?:%|percent)", question))
    known = {*asked, *meant, *(1 / value for value in meant), *KNOWN, *names}
    shares = [share for value in percent for share in shares_of(value) if share.value in literals - known]
    of_percents = {share.value for share in shares}
    if not literals <= known | of_percents or len(shares) > len(of_percents):
        return None  # worked out in the head, or two shares are the same number
    given, used = literals.union(asked) - of_percents, literals.union(*map(operands, shares)) - of_percents
    if not set(numbers(plain)) <= given | of_percents | results:
        return None
    if not set(asked) <= used | names | {Fraction(0), Fraction(1), Fraction(100)}:
        return None  # used in the head, or by nobody
    steady = meant | stuck(question, plain, equations, percent, words)
    free = {value: step for value in asked if value in used - steady and (step := step_of(value))}
    fixed = frozenset((given | world.limits(words) | said) - free.keys() - results)
    scales = scales_of(free.keys() | fixed | results, percent)
    return Template(question, plain, free, percent, fixed, (*shares, *equations), scales) if free else None


def scales_of(values: Iterable[Fraction], percent: frozenset[Fraction]) -> tuple[tuple[Fraction, ...], ...]:
    plain = tuple(sorted(set(values) - percent))
    return plain, tuple(sorted({Fraction(100), *percent}))


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


def with_articles(text: str) -> str:
    """`a 8-ounce cup` as `an 8-ounce cup`."""

    def right(match: re.Match[str]) -> str:
        article = "an" if re.match(r"8|1[18](?![0-9])|1[18],?[0-9]{3}(?![0-9,])", match[2]) else "a"
        return (article.capitalize() if match[1][0] == "A" else article) + " " + match[2]

    return re.sub(r"\b([Aa]n?) ([0-9][0-9,]*)", right, text)
