"""Numbers of a word problem that have to stay, since something else depends on them or they may be something else.

    "Ann, Bob and Tom read 3 pages a day for 5 weeks of 7 days"     # 3 may be the readers', 7 is the week's, 5 may change

Names, years and parts (`room 5`, 1989, `3rd`); constants of the world that the words may mean (regime_w/questions/world.py);
a number that stands in more calculations than the question gives it, next to another word than there, or that counts the
terms of a sum, people or days; a percent that is used as another number; numbers that make up another one.
"""

import ast
import re
from collections import Counter
from collections.abc import Iterable
from fractions import Fraction
from itertools import combinations

from regime_w.method.arithmetic import value_of
from regime_w.questions import world
from regime_w.questions.calculations import NUMBER, Equation, constants, numbers

# What a number in a question must not touch: a letter, a fraction's or time's other half, a power.
TOUCHING = re.compile(r"[A-Za-z/:^'’′\"”]|-[A-Za-z]*-old|(?:st|nd|rd|th)\b|[ -](?:dollar[ -])?(?:bill|note|coin)s?\b")
MONTHS = str.split("january february march april may june july august september october november december")
WEEKDAYS = str.split("monday tuesday wednesday thursday friday saturday sunday")
# Before or behind a number that is a name.
NAMES = set(
    str.split(
        "number no grade room apartment page chapter route highway level class group team section lane gate "
        "platform channel type model version size step part question problem day week month year street "
        "avenue"
    )
).union(MONTHS)
YEARS = range(1700, 2101)
ALWAYS = (Fraction(0), Fraction(1), Fraction(2))
SMALL = 31  # such a number, or a constant of the world, may be there for another reason
MOST_SUMMED = 8  # given numbers whose sums are looked at
CONTEXT = 5  # words on both sides of a number
# Words behind a number that are not what it counts.
NO_NOUNS = set(
    str.split(
        "x times and or of in is are was were will would for per each every more less fewer from to by with "
        "at on the a an because so that then than as which if when plus minus divided multiplied equals left "
        "total altogether"
    )
)


def stuck(
    question: str, plain: str, equations: list[Equation], percent: frozenset[Fraction], words: list[str]
) -> set[Fraction]:
    """Those of a question's numbers, and others; of its rationale `plain` without annotations and the words of both."""
    return set(ALWAYS).union(
        named(question),
        world.meant(words),
        world.spelled(words),
        ambiguous(question, plain, equations, words),
        made_up(numbers(question), percent, words),
        *(percent_used_otherwise(value, equations) for value in percent),
    )


def named(question: str) -> set[Fraction]:
    """Numbers of a question that are names, dates, or a part of something."""
    found = set()
    for match in NUMBER.finditer(question):
        value = value_of(match.group())
        before, after = question[: match.start()], question[match.end() :]
        word = re.search(r"([A-Za-z]+)[ #]$", before[-20:])
        month = re.match(r" (?:of )?([A-Za-z]+)", after[:20])
        if (
            value in YEARS
            or TOUCHING.match(after)
            or before[-1:] in ("/", ":", "#", "-", "^")
            or (word and word[1].lower() in NAMES)
            or (month and month[1].lower() in MONTHS)
            or any(place.start() <= match.start() < place.end() for place in world.CONVERSION.finditer(question))
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


def percent_used_otherwise(percent: Fraction, equations: Iterable[Equation]) -> set[Fraction]:
    """A percent that may stand for another number: `40/10` for 10 %, 50 % for what is left; and its part of a hundred."""
    trees = [equation.tree for equation in equations if percent in constants(equation.tree)]
    plain = any(not {Fraction(100), Fraction(1, 100)} & set(constants(tree)) and not only_added(tree) for tree in trees)
    return {percent, 100 / percent} if plain or percent == 50 else {100 / percent} if percent else set()


def only_added(tree: ast.expr) -> bool:
    return all(isinstance(node.op, (ast.Add, ast.Sub)) for node in ast.walk(tree) if isinstance(node, ast.BinOp))


def made_up(asked: list[Fraction], percent: frozenset[Fraction], words: list[str]) -> set[Fraction]:
    """Given numbers that make up another one, or a week, a day, a whole: as a sum, a product or so many times another."""
    totals = world.limits(words) | {value for value in map(Fraction, world.TOTALS) if value in world.near(words)}
    times = (
        world.spelled(words)
        | world.meant(words)
        | {value / 100 for one in percent for value in (one, 100 - one, 100 + one)}
    )
    found: set[Fraction] = set()
    counts = [value for value in asked if value not in percent and value > 1][:MOST_SUMMED]
    shares = [value for value in asked if value in percent][:MOST_SUMMED]
    for several in (
        several for values in (counts, shares) for size in range(2, 5) for several in combinations(values, size)
    ):
        whole = sum(several, Fraction(0))
        if whole in asked or whole in (totals if len(several) == 2 or several[0] in percent else ()):
            found |= {*several, whole}
    for one, other in combinations(counts, 2):
        if one * other in counts and min(one, other) > 2:
            found |= {one, other, one * other}
        if any(one * factor == other or other * factor == one for factor in times if factor not in (0, 1)):
            found |= {one, other}
    return found


def words_of(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower())
