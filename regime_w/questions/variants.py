"""The same word problem with other numbers, worked out again by the calculations of its rationale.

    template = read(question, answer)           # None where it cannot be told which number goes where
    template.vary(random.Random(0))             # ("Tom has 7 bags of 12 ...", "7*12 = 84 ...\\n#### 84"), None without luck

GSM8K writes calculations as `48/2 = <<48/2=24>>24`, so that a question's numbers, the results made from them and the answer
hang together in a graph; those without an annotation, `48/2 = 24`, count too. New numbers go into the question, the results
follow, and both stand in the rationale where the old ones stood. (Numerical variation, as GSM-Plus, 2402.19255, and
MuggleMath, 2310.05506, make it with a language model.)

Only what is certain is varied. A question is left out where its annotations are not exact, where its rationale holds a
number that no calculation explains, or where two results part that were the same number. A given number that is a result too,
`16/4 = 4`, is the given one up to there and the result behind it, if that can be told (`used_once`). A number stays as it is
where other words depend on it: 1 and 0, years, times, fractions, `3rd`, and one that a word of the question may mean as well
(`week` and 7, `half` and 2).
"""

import ast
import random
import re
from fractions import Fraction
from typing import NamedTuple

from regime_w.method.arithmetic import evaluate, exact, has_cents, parse, shown, value_of
from regime_w.method.sums import holds, tree_of, written_sums

ANNOTATION = re.compile(r"<<([^<>=]*)=([^<>=]*)>>")
ANY_ANNOTATION = re.compile(r"<<[^<>]*>>")
# `6x5` is two numbers.
NUMBER = re.compile(r"(?:(?<![\w.,])|(?<=[0-9]x))(?:(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)")
# What a number in a question must not touch: a letter, a fraction's or time's other half, a power.
TOUCHING = re.compile(r"[A-Za-z/:^]|-[A-Za-z]*-old|(?:st|nd|rd|th)\b")
WORDS = {
    2: "half halves two second twice double doubles doubled couple pair pairs both",
    3: "three third thirds thrice triple triples tripled yard yards",
    4: "four fourth fourths quarter quarters quadruple gallon gallons",
    5: "five fifth fifths nickel nickels weekday weekdays",
    6: "six sixth",
    7: "seven week weeks weekly",
    8: "eight",
    9: "nine",
    10: "ten tenth tens dime dimes decade decades",
    11: "eleven",
    12: "twelve dozen dozens month months monthly year years yearly annual annually foot feet inch inches",
    13: "thirteen",
    14: "fourteen",
    15: "fifteen",
    16: "sixteen ounce ounces",
    17: "seventeen",
    18: "eighteen",
    19: "nineteen",
    20: "twenty",
    24: "day days daily hour hours",
    25: "quarter quarters",
    30: "thirty month months monthly",
    40: "forty",
    50: "fifty",
    52: "week weeks weekly year years yearly",
    60: "sixty second seconds minute minutes hour hours",
    70: "seventy",
    80: "eighty",
    90: "ninety",
    100: "hundred century percent percentage cent cents",
    365: "day days year years",
    1000: "thousand kilogram kilograms kilometer kilometers kg km liter liters litre litres gram grams",
}
YEARS = range(1700, 2101)
KNOWN = (Fraction(1), Fraction(100), Fraction(1, 100))  # `.01` for a percent
MANY_DIGITS = re.compile(r"[0-9]{16}")
STEPS = [Fraction(step) for step in (1000, 500, 100, 50, 10, 5, 1, "1/2", "1/4", "1/10", "1/20", "1/100")]
LEAST_CHOICES = 8  # between which a new number is drawn, where its step allows it
TRIES = 300
LARGER = 4  # a result's size against the old one's, at most; smaller ones may be of any size
ALWAYS_LIKE = 50


class Equation(NamedTuple):
    """A calculation: its left side, the value that had, and where in the answer its result stands."""

    tree: ast.expr
    value: Fraction
    position: int
    given: bool = False  # up to there the value is a given number


class Template(NamedTuple):
    """`free`: the question's numbers that may change, with the step of each; `fixed`: given numbers that stay."""

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
            given = {value: value for value in self.fixed} | new
            results = self._worked_out(given)
            if results is not None and holds(answer := self._rewritten(given, results)):
                return substitute(self.question, given), answer
        return None

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

    def _rewritten(self, given: dict[Fraction, Fraction], results: dict[Fraction, Fraction]) -> str:
        values, text, at = results | given, "", 0
        for equation in self.equations:
            if equation.given:
                text += substitute(self.answer[at : equation.position], values)
                values[equation.value], at = results[equation.value], equation.position
        return text + substitute(self.answer[at:], values)


def read(question: str, answer: str) -> Template | None:
    """The template of a question and its annotated answer, or None where it is not certain."""
    rationale, mark, label = answer.rpartition("####")
    if not mark or MANY_DIGITS.search(question + answer):
        return None
    asked, final, plain = numbers(question), numbers(label), without_annotations(answer)
    calculated = calculations(rationale)
    if calculated is None or len(final) != 1 or not holds(plain):
        return None
    stuck = tied(question, rationale)
    told = given_and_results(calculated, stuck.union(asked), plain, final[0])
    if told is None:
        return None
    literals, equations = told
    percent = frozenset(value for value in asked if re.search(rf"(?<![\d.]){shown(value)} ?(?:%|percent)", question))
    known = {*asked, *stuck, *(1 / value for value in stuck if value), *KNOWN}
    shares = [share for value in percent for share in shares_of(value) if share.value in literals - known]
    of_percents = {share.value for share in shares}
    if not literals <= known | of_percents or len(shares) > len(of_percents):
        return None  # worked out in the head, or two shares are the same number
    given = literals.union(asked) - of_percents
    if not set(numbers(plain)) <= given | {equation.value for equation in (*shares, *equations)}:
        return None
    used = literals.union(*map(operands, shares)) - stuck
    free = {value: step for value in asked if value in used and (step := step_of(value))}
    if not free:
        return None
    return Template(question, plain, free, percent, frozenset(given - free.keys()), (*shares, *equations))


def calculations(rationale: str) -> list[Equation] | None:
    """The calculations of a rationale in their order, annotated and not; None where an annotation is not exact."""
    plain = without_annotations(rationale)
    found = {}
    for own in written_sums(plain):
        if own.value == own.stated and own.value > 0 and exact(own.value) and (tree := tree_of(own.left)):
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
    return [found[position] for position in sorted(found)]


def given_and_results(
    equations: list[Equation], known: set[Fraction], plain: str, final: Fraction
) -> tuple[set[Fraction], list[Equation]] | None:
    """The numbers that go into the calculations from outside, and the calculations, each told whether its value is a given
    number too; None where it is not clear which of the two one is, or none is the answer."""
    literals: set[Fraction] = set()
    results: set[Fraction] = set()
    told: list[Equation] = []
    for number, equation in enumerate(equations):
        literals |= operands(equation) - results
        given = equation.value in literals | known and equation.value not in results
        if given and not used_once(equation, equations[number + 1 :], plain, final):
            return None
        told.append(equation._replace(given=given))
        results.add(equation.value)
    return (literals, told) if final in results else None


def used_once(equation: Equation, later: list[Equation], plain: str, final: Fraction) -> bool:
    """Whether a value that is a given number too is that one up to the calculation and its result behind it: as every result it
    is used, once, or is the answer; and no words name it but on the line where it is used."""
    value, position, end = equation.value, equation.position, plain.rindex("####")
    uses = [one.position for one in later for operand in constants(one.tree) if operand == value]
    if len(uses) != (value != final):
        return False
    before = numbers(plain[plain.rfind("\n", 0, position) + 1 : position])
    result = NUMBER.match(plain, position)
    start = result.end() if result else position
    use, line = (uses[0], max(start, plain.rfind("\n", 0, uses[0]) + 1)) if uses else (end, end)
    behind = numbers(plain[start:line]) + numbers(plain[use:end])
    return before.count(value) <= constants(equation.tree).count(value) and value not in behind


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


def tied(question: str, rationale: str) -> set[Fraction]:
    """Numbers of a question that have to stay."""
    words = set(re.findall(r"[a-z']+", f"{question} {rationale}".lower()))
    stuck = {Fraction(number) for number, names in WORDS.items() if words & set(names.split())}
    if "%" in question + rationale:
        stuck.add(Fraction(100))
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
