"""Other ways to read a sum that looks wrong: a sum is wrong only if none of them makes it right.

A rounding (`17/3 = 5`), rounded numbers (`0.33*300 = 100`), another notation (`2 x 1.500 = 3000`), a change of units
(`$1/2 = 50 cents`), words that belongs to it (`half the 6+4 = 5`, `= 5 and 2/3`), spaces that
say another order (`60 / 3/4 = 80`), a share (`1/4 = 20 people`).
"""

import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import product
from math import factorial, prod
from typing import NamedTuple

from regime_w.method.arithmetic import calculate
from regime_w.method.notation import VULGAR, Token, expression, loosely_written

MOST_READINGS = 64
MOST_FACTORIAL = 100
ROUNDED = Fraction(1, 100)  # off by no more than this is right
PARTS = (3, 6, 7, 9)  # a number like 0.67 may be a rounded 2/3
# Words that calculate: a sum that begins behind one of them, or whose result one of them goes on with, is not read.
BEFORE = set(
    str.split(
        "half halve twice thrice double triple quadruple times plus minus less by over into mod modulo "
        "divided multiplied multiply divide square squared cube cubed root percent dozen hundred thousand "
        "million billion third thirds quarter quarters fourth fourths fifth fifths sixth sixths seventh "
        "eighth eighths ninth tenth tenths average mean product difference ratio remainder digit digits power "
        "negative factorial logarithm log sin cos tan base"
    )
)
BEHIND = set(
    str.split(
        "times plus minus less divided multiplied over squared cubed x r remainder mod point to and-a-half "
        "halves thirds fourths fifths sixths sevenths eighths ninths tenths quarters half quarter factorial"
    )
)
# A number behind one of these names something: `on day 1 * 2 = 20`.
LABELS = set(
    str.split("day week month year step part question problem number no grade group round level page chapter case")
)
# What a result may be off by if one of these stands up to PHRASE words before its sum: `half the 6+4 = 5`.
FACTORS = {
    name: factor
    for names, factor in {
        "half halve halves twice double pair couple": 2, "third thirds thrice triple": 3,
        "quarter quarters fourth fourths quadruple": 4, "fifth fifths": 5, "sixth sixths": 6, "eighth eighths": 8,
        "tenth tenths": 10, "dozen": 12, "percent hundred": 100, "thousand": 1000, "million": 1_000_000,
    }.items()
    for name in names.split()
}  # fmt: skip
ABOUT = re.compile(r"round(?:ed|ing|s)\b|approx|nearest|about|estimat|almost|nearly|rough|around|≈|≅|~", re.IGNORECASE)
PHRASE = 6  # words around a sum that are looked at
SHARES = (2, 3, 4, 5, 6, 8, 10, 12, 100)
# What a result in these units may be multiplied with to be the value of its left side, or the other way round.
UNITS = {
    name: tuple(map(int, ratios.split()))
    for names, ratios in {
        "cent cents ¢ c percent % percentage pct": "100",
        "$ dollar dollars buck bucks euro euros pound pounds": "100 1000 1000000 16 2000",
        "quarter quarters": "4 25", "dime dimes": "10", "nickel nickels": "5 20", "penny pennies": "100",
        "second seconds sec secs s minute minutes min mins": "60 3600",
        "hour hours hr hrs h": "24 60 3600", "day days": "7 24 30 31 365", "week weeks": "4 7 52",
        "month months": "4 12 30", "year years": "10 12 52 100 365", "decade decades": "10", "century centuries": "100",
        "dozen dozens": "12", "pair pairs couple couples": "2", "score": "20",
        "hundred hundreds": "100", "thousand thousands k grand": "1000", "million millions m": "1000 1000000",
        "billion billions": "1000 1000000 1000000000", "foot feet ft": "3 12 5280", "inch inches in": "12 36",
        "yard yards yd": "3 36 1760", "mile miles mi": "1760 5280",
        "kilometer kilometers kilometre kilometres km meter meters metre metres centimeter centimeters centimetre "
        "centimetres cm millimeter millimeters mm kilogram kilograms kilo kilos kg gram grams g milligram milligrams mg "
        "liter liters litre litres l milliliter milliliters ml kilowatt kilowatts watt watts kw": "10 100 1000",
        "ounce ounces oz lb lbs": "8 16", "ton tons tonne tonnes": "1000 2000",
        "gallon gallons quart quarts pint pints cup cups": "2 4 8 16", "tablespoon tablespoons teaspoon teaspoons": "3 16",
    }.items()
    for name in names.split()
}  # fmt: skip


class Written(NamedTuple):
    """Both sides of a sum. The result is `sign` times its number, with a `$` before or a `%` behind it."""

    left: list[Token]
    result: Token
    sign: int
    percent: bool
    dollars: bool

    def stated(self, reading: Fraction, percent: bool) -> Fraction:
        return self.sign * reading / (100 if percent else 1)


def is_near(value: Fraction, stated: Fraction, written: Written, percent: bool | None = None) -> bool:
    """Whether the result is the value, to a hundredth, or as far as its decimals go. Who divides may also cut it off; who adds
    does not round."""
    off = abs(value - stated)
    if off <= ROUNDED:
        return True
    if not written.result.text.replace(",", "").replace(".", "").isdigit():
        return False
    unit = Fraction(
        1, 10 ** decimals(written.result) * (100 if (written.percent if percent is None else percent) else 1)
    )
    if (value / unit).denominator == 1:
        return False
    signs = {token.text for token in written.left}
    return off < unit if "/" in signs else off <= unit / 2 and "*" in signs


def may_be_right(written: Written, before: Sequence[Token], behind: Sequence[Token], value: Fraction) -> bool:
    """Whether the sum of this value could mean something else that is right; with the tokens on both sides of it, in
    the same phrase."""
    return (
        _read_otherwise(written)
        or _rounded(written)
        or _share(written)
        or loosely_written(written.left)
        or _other_units(written, behind, value)
        or _goes_on(written, behind, value)
        or _said_to_be_about(written, (*before, *behind), value)
        or _factor_before(written, before, value)
    )


def decimals(token: Token) -> int:
    return len(token.text.partition(".")[2])


def values(written: Written, readings: Sequence[Sequence[Fraction]], percents: bool = True) -> Iterator[Fraction]:
    """What the left side comes to with any of the readings of each number."""
    if prod(map(len, readings)) > MOST_READINGS:
        return
    for chosen in product(*readings):
        found = expression(written.left, chosen, percents)
        if found is not None and (value := calculate(found)) is not None:
            yield value


def _read_otherwise(written: Written) -> bool:
    """`2 x 1.500 = 3000`, `on page 5 100 + 200 = 300`, `80 + 20 = 100%`."""
    numbers = [token for token in written.left if token.readings]
    readings = [[*token.readings, *(token.parts[-1:] if place == 0 else ())] for place, token in enumerate(numbers)]
    result = [*written.result.readings, *written.result.parts[:1]]
    percents = sum(token.kind == "percent" for token in written.left)
    if 0 < percents < len(numbers) and any(token.text in ("+", "-") for token in written.left):
        return True  # 120 + 20%
    if prod(map(len, readings)) > MOST_READINGS:
        return True
    stated = [(written.stated(reading, percent), percent) for reading in result for percent in {written.percent, False}]
    if any(token.text == "/" for token in written.left):
        stated += [(reading / 100, True) for reading, _ in stated]  # 21/28 = 75
    lefts = [value for of_hundred in (True, False) for value in values(written, readings, of_hundred)]
    return any(is_near(value, result, written, percent) for value in lefts for result, percent in stated)


def _rounded(written: Written) -> bool:
    """Whether numbers that look rounded, by as much as they may be, make the result right."""
    shown = decimals(written.result)
    readings: list[tuple[Fraction, ...]] = []
    for token in written.left:
        if not token.readings:
            continue
        value, places = token.readings[0], decimals(token)
        unit = Fraction(1, 10**places)
        if places > 2 or (places == 2 and (shown < 2 or _is_part(value, unit))):
            readings.append((value - unit, value, value + unit))
        else:
            readings.append((value,))
    found = list(values(written, readings))
    stated = written.stated(written.result.readings[0], written.percent)
    slack = Fraction(1, 10**shown * 2)
    return len(found) > 1 and min(found) - slack <= stated <= max(found) + slack


def _is_part(value: Fraction, unit: Fraction) -> bool:
    """Whether a number is a rounded or cut off part, as 0.67 and 0.66 of 2/3."""
    return value % 1 != 0 and any(
        abs(value - Fraction(round(value * parts), parts)) < unit and (value * parts).denominator > 1 for parts in PARTS
    )


def _share(written: Written) -> bool:
    """`1/4 = 20 people`."""
    if [token.kind for token in written.left] != ["number", "sign", "number"] or written.left[1].text != "/":
        return False
    over, under = (written.left[place].readings[0] for place in (0, 2))
    return over < under in SHARES and written.left[0].end == written.left[1].start and written.result.readings[0] >= 1


def _other_units(written: Written, behind: Sequence[Token], value: Fraction) -> bool:
    """`$1/2 = 50 cents`, `2*30 = 1 hour`."""
    units = [token.text.lower() for token in behind[:2] if token.kind == "word"]
    units += ["$"] * (written.dollars or any(token.kind == "money" for token in written.left)) + ["%"] * written.percent
    if written.result.readings[0] == 0 or value == 0:
        return False
    ratio = abs(value / written.result.readings[0])
    ratios = {ratio for unit in units for ratio in UNITS.get(unit, ())}
    return any(is_near(max(ratio, 1 / ratio), Fraction(known), written) for known in ratios)


def _goes_on(written: Written, behind: Sequence[Token], value: Fraction) -> bool:
    """`= 5 and 2/3`, `= 4!`."""
    if not behind:
        return False
    if behind[0].text == "!" and behind[0].start == written.result.end:
        number = written.result.readings[0]
        return number.denominator == 1 and number <= MOST_FACTORIAL and value == factorial(int(number))
    share = [token for token in behind[1:] if token.kind not in ("open", "money")]
    return (
        behind[0].text == "and"
        and bool(share)
        and (
            (
                len(share) > 2
                and [token.kind for token in share[:3]] == ["number", "sign", "number"]
                and share[1].text == "/"
            )
            or share[0].text in VULGAR
            or share[0].text.lower() in FACTORS
            or (len(share) > 1 and share[0].text in ("a", "one") and share[1].text.lower() in FACTORS)
        )
    )


def _said_to_be_about(written: Written, around: Sequence[Token], value: Fraction) -> bool:
    close = abs(value - written.stated(written.result.readings[0], False)) * 10 <= abs(value)
    return close and any(ABOUT.match(token.text) for token in around)


def _factor_before(written: Written, phrase: Sequence[Token], value: Fraction) -> bool:
    """`half the 6+4 = 5`."""
    stated = written.stated(written.result.readings[0], False)
    factors = {FACTORS.get(token.text.lower(), 1) for token in phrase}
    return any(stated in (value * factor, *(value * part / factor for part in range(1, factor))) for factor in factors)
