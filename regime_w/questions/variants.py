"""The same word problem with other numbers, worked out again by the calculations of its rationale.

    template = read(question, answer)           # None where it cannot be told which number goes where
    template.vary(random.Random(0))             # ("Tom has 7 bags of 12 ...", "7*12 = 84 ...\\n#### 84"), None without luck

GSM8K writes calculations as `48/2 = <<48/2=24>>24`, so that a question's numbers, the results made from them and the answer
hang together in a graph; those without an annotation, `48/2 = 24`, count too. New numbers go into the question, the results
follow, and both stand in the rationale where the old ones stood. (Numerical variation, as GSM-Plus, 2402.19255, and
MuggleMath, 2310.05506, make it with a language model.)

Only what is certain is varied. A question is left out where its annotations are not exact, where its rationale holds a number
that no calculation explains, where a given number is a result as well, stands in no calculation or tells the time, and where
two results part that were the same number. A number stays as it is where something else depends on it or may be it: 0, 1 and
2, years, fractions, `3rd`, `room 5`; a constant of the world that the words may mean (regime_w/questions/world.py); a number
that stands in more calculations than the question gives it, next to another word than there, or that counts the terms of a
sum; numbers that make up another given one. New numbers are in the order of the old ones, results and the world's limits
among them: what was less than a price, half of a whole or 5 of 7 days still is.
"""

import ast
import random
import re
from collections import Counter
from collections.abc import Iterable
from fractions import Fraction
from itertools import combinations, pairwise
from typing import NamedTuple

from regime_w.method.arithmetic import evaluate, exact, has_cents, parse, shown, value_of
from regime_w.method.sums import holds, tree_of, written_sums
from regime_w.questions import world

ANNOTATION = re.compile(r"<<([^<>=]*)=([^<>=]*)>>")
ANY_ANNOTATION = re.compile(r"<<[^<>]*>>")
RESULT = re.compile(r"= ?\$?([0-9.])")
# `6x5` is two numbers.
NUMBER = re.compile(r"(?:(?<![\w.,])|(?<=[0-9]x))(?:(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)")
# What a number in a question must not touch: a letter, a fraction's or time's other half, a power.
TOUCHING = re.compile(r"[A-Za-z/:^'’′\"”]|-[A-Za-z]*-old|(?:st|nd|rd|th)\b|[ -](?:dollar[ -])?(?:bill|note|coin)s?\b")
TIMES = re.compile(r"[0-9] ?(?:[ap]\.?m\b|o'? ?clock)|[0-9]:[0-9]|\b(?:noon|midnight)\b", re.IGNORECASE)
OTHERS = re.compile(r"\b(?:other|rest|remaining|another) (?:[a-z]+ )?\$?([0-9][0-9,]*)(?![0-9.])", re.IGNORECASE)
VAGUE = re.compile(r"\b(?:at (?:least|most)|approximately|roughly|(?:about|up to|around) (?=\$?[0-9]))", re.IGNORECASE)
MONTHS = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
]
WEEKDAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
# Before or behind a number that is a name.
NAMES = set(
    [
        "number",
        "no",
        "grade",
        "room",
        "apartment",
        "page",
        "chapter",
        "route",
        "highway",
        "level",
        "class",
        "group",
        "team",
        "section",
        "lane",
        "gate",
        "platform",
        "channel",
        "type",
        "model",
        "version",
        "size",
        "step",
        "part",
        "question",
        "problem",
        "day",
        "week",
        "month",
        "year",
        "street",
        "avenue",
    ]
).union(MONTHS)
YEARS = range(1700, 2101)
ALWAYS = (Fraction(0), Fraction(1), Fraction(2))
KNOWN = (Fraction(1), Fraction(100), Fraction(1, 100))  # `.01` for a percent
MANY_DIGITS = re.compile(r"[0-9]{16}")
STEPS = [Fraction(step) for step in (1000, 500, 100, 50, 10, 5, 1, "1/2", "1/4", "1/10", "1/20", "1/100")]
LEAST_CHOICES = 8  # between which a new number is drawn, where its step allows it
TRIES = 1000
LARGER = 4  # a result's size against the old one's, at most; smaller ones may be of any size
ALWAYS_LIKE = 50
SMALL = 31  # such a number, or a constant of the world, may be there for another reason
CONTEXT = 5  # words on both sides of a number
# Words behind a number that are not what it counts.
NO_NOUNS = set(
    [
        "x",
        "times",
        "and",
        "or",
        "of",
        "in",
        "is",
        "are",
        "was",
        "were",
        "will",
        "would",
        "for",
        "per",
        "each",
        "every",
        "more",
        "less",
        "fewer",
        "from",
        "to",
        "by",
        "with",
        "at",
        "on",
        "the",
        "a",
        "an",
        "because",
        "so",
        "that",
        "then",
        "than",
        "as",
        "which",
        "if",
        "when",
        "plus",
        "minus",
        "divided",
        "multiplied",
        "equals",
        "left",
        "total",
        "altogether",
    ]
)


class Equation(NamedTuple):
    """A calculation: its left side, the value that had, and where in the answer its result stands."""

    tree: ast.expr
    value: Fraction
    position: int


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
    if not mark or MANY_DIGITS.search(question + answer) or TIMES.search(question + rationale):
        return None
    if VAGUE.search(question):
        return None
    asked, final, plain = numbers(question), numbers(label), without_annotations(answer)
    equations = calculations(rationale)
    if not equations or len(final) != 1 or not holds(plain):
        return None
    results = {equation.value for equation in equations}
    literals = given_numbers(equations)
    words = words_of(f"{question} {rationale}")
    names = named(question)
    if final[0] not in results or results & literals.union(asked, world.spelled(words_of(question))):
        return None
    percent = frozenset(value for value in asked if re.search(rf"(?<![\d.]){shown(value)} ?(?:%|percent)", question))
    meant = world.meant(words) | ({Fraction(100)} if "%" in question + rationale else set())
    known = {*asked, *meant, *(1 / value for value in meant), *KNOWN, *names}
    shares = [share for value in percent for share in shares_of(value) if share.value in literals - known]
    of_percents = {share.value for share in shares}
    if not literals <= known | of_percents or len(shares) > len(of_percents):
        return None  # worked out in the head, or two shares are the same number
    used = literals.union(*map(operands, shares)) - of_percents
    given = literals.union(asked) - of_percents
    if not set(numbers(plain)) <= given | {equation.value for equation in (*shares, *equations)}:
        return None
    if not set(asked) <= used | names | {Fraction(0), Fraction(1), Fraction(100)}:
        return None  # used in the head, or by nobody
    if any(value_of(match[1]) in results for match in OTHERS.finditer(rationale)):
        return None  # two results that are the same number
    stuck = set(ALWAYS).union(
        names,
        meant,
        world.spelled(words),
        ambiguous(question, plain, equations, words),
        made_up(asked, percent, words),
        *(percent_used_otherwise(value, equations) for value in percent),
    )
    free = {value: step for value in asked if value in used - stuck and (step := step_of(value))}
    if not free:
        return None
    every = (*shares, *equations)
    fixed = frozenset((given | world.limits(words) | world.spelled(words_of(question))) - free.keys() - results)
    return Template(question, plain, free, percent, fixed, every, scales_of(free.keys() | fixed | results, percent))


def given_numbers(equations: Iterable[Equation]) -> set[Fraction]:
    """The numbers that go into the calculations from outside."""
    literals: set[Fraction] = set()
    results: set[Fraction] = set()
    for equation in equations:
        literals |= operands(equation) - results
        results.add(equation.value)
    return literals


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


def words_of(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower())


def named(question: str) -> set[Fraction]:
    """Numbers of a question that are names, years, or a part of something."""
    found = set()
    for match in NUMBER.finditer(question):
        value = value_of(match.group())
        before, after = question[: match.start()], question[match.end() :]
        beside = [*words_of(before[-20:])[-1:], *words_of(after[:20])[:1]]
        month = bool(set(beside) & set(MONTHS)) and not after.startswith((".", ",", "?"))
        if (
            value in YEARS
            or TOUCHING.match(after)
            or before[-1:] in ("/", ":", "#", "-", "^")
            or (before[-1:] == " " and beside[:1] and beside[0] in NAMES)
            or month
        ):
            found.add(value)
    return found


def ambiguous(question: str, plain: str, equations: list[Equation], words: list[str]) -> set[Fraction]:
    """Numbers of a question that a calculation may hold for another reason: a constant of the world, a count."""
    asked, near = Counter(numbers(question)), world.near(words)
    uses: Counter[Fraction] = Counter()
    results: set[Fraction] = set()
    counted = set()
    for equation in equations:
        uses.update(value for value in constants(equation.tree) if value not in results)
        results.add(equation.value)
        counted |= terms(equation.tree)
    listed = counts_of_names(question, words)
    suspects = {value for value in asked if value in near or (value.denominator == 1 and value <= SMALL)}
    halves = {value for value in asked if uses[value] > asked[value] and 2 * value in asked}
    return (
        halves
        | {2 * value for value in halves}
        | {
            value
            for value in suspects
            if value in near
            or uses[value] > asked[value]
            or value in counted
            or value in listed
            or not counts_the_same(value, question, plain)
        }
    )


def counts_of_names(question: str, words: list[str]) -> set[int]:
    """How many people, days or months a question names, or may mean by the first and the last of them."""
    people = len(set(re.findall(r"(?<=[a-z,] )[A-Z](?:[a-z]+|\b)", question)))
    counts = {people - 1, people, people + 1}
    for names in (WEEKDAYS, MONTHS):
        if len(set(words) & set(names)) > 1:
            counts |= set(range(2, len(names) + 1))
    return counts


def percent_used_otherwise(percent: Fraction, equations: Iterable[Equation]) -> set[Fraction]:
    """A percent that may stand for another number: `40/10` for 10 %, 50 % for what is left; and its part of a hundred."""
    trees = [equation.tree for equation in equations if percent in constants(equation.tree)]
    plain = any(not {Fraction(100), Fraction(1, 100)} & set(constants(tree)) and not only_added(tree) for tree in trees)
    return {percent, 100 / percent} if plain or percent == 50 else {100 / percent} if percent else set()


def only_added(tree: ast.expr) -> bool:
    return all(isinstance(node.op, (ast.Add, ast.Sub)) for node in ast.walk(tree) if isinstance(node, ast.BinOp))


def terms(tree: ast.expr) -> set[Fraction]:
    """How many terms the sums in an expression have."""
    found = set()
    for node in ast.walk(tree):
        count = 1
        while isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            node, count = node.left, count + 1
        found.add(Fraction(count))
    return found


def counts_the_same(value: Fraction, question: str, plain: str) -> bool:
    """Whether every noun behind a number in the rationale stands near that number in the question."""
    nearby: set[str] = set()
    for match in NUMBER.finditer(question):
        if value_of(match.group()) == value:
            nearby.update(words_of(question[: match.start()])[-CONTEXT:], words_of(question[match.end() :])[:CONTEXT])
    for match in NUMBER.finditer(plain):
        if value_of(match.group()) != value:
            continue
        noun = re.match(r"[ -]([A-Za-z']+)", plain[match.end() :])
        if noun and noun[1].lower() not in NO_NOUNS and not any(same_word(noun[1].lower(), word) for word in nearby):
            return False
    return True


def same_word(one: str, other: str) -> bool:
    return one.rstrip("s") == other.rstrip("s") or (len(one) > 3 and one[:4] == other[:4])


def made_up(asked: list[Fraction], percent: frozenset[Fraction], words: list[str]) -> set[Fraction]:
    """Given numbers of which two make up a third, or a week, a day, a whole."""
    totals = world.limits(words) | {value for value in map(Fraction, world.TOTALS) if value in world.near(words)}
    found = set()
    for one, other in combinations(asked, 2):
        whole = one + other
        if (one in percent) == (other in percent) and (whole in asked or whole in totals):
            found |= {one, other, whole}
    return found


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
