"""How texts write numbers and operations: tokens of a text, and the expression that a row of them is.

    tokens("2 × 1 1/2 = 3")         # number 2, sign *, number 3/2, equals, number 3
    expression(tokens("2 × 20%"))   # "2*(20/100)"

A number may have more than one reading: `1,000` is a thousand, but in much of the world one, `5 100` may be two numbers.
"""

import re
import unicodedata
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

MOST_DIGITS = 15  # of a number that is read
MOST_POWER = 10
SPELLED = {
    **dict.fromkeys(("×", "·", "⋅", "∗", "✕", "\\times", "\\cdot", "\\ast", "x", "X"), "*"),
    **dict.fromkeys(("÷", "∕", "⁄", "\\div"), "/"),
    **dict.fromkeys(("−", "–"), "-"),
    "**": "^",
}
LEVEL = {"+": 1, "-": 1, "*": 2, "/": 2}
VULGAR = "¼½¾⅐⅑⅒⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞"
SPACE = "[ \u00a0\u2009\u202f]"
TOKEN = re.compile(
    rf"""
    (?P<skip>    <<[^<>]*>> | \\[,;!:\ ] | \\(?:left|right)(?![a-z]) | [^\S\n]+ )
  | (?P<number>  [0-9]{{1,3}}(?:{SPACE}[0-9]{{3}})+(?:[.,][0-9]+)?(?![0-9.,:'’]*[0-9])
               | [0-9]+(?:(?:[.,:'’]|,\\!|\{{,\}})[0-9]+)* | \.[0-9]+ | [{VULGAR}] )
  | (?P<sign>    \\(?:times|cdot|ast|div)(?![a-z]) | \*\* | [-+*/^×·⋅∗✕÷∕⁄−–] )
  | (?P<square>  [²³] )
  | (?P<equals>  (?<![=<>!:~≈])=(?![=>~]) )
  | (?P<money>   \\?[$€£₹¥] )
  | (?P<percent> \\?% )
  | (?P<open>    [(\[] )
  | (?P<close>   [)\]] )
  | (?P<word>    [^\W\d_]+(?:['’-][^\W\d_]+)* )
  | (?P<break>   \n | \\\\ | \\[()\[\]] | [.,;:!?"'`“”‘’…•|→⇒∴\#] )
  | (?P<other>   \\[A-Za-z]+ | . )
    """,
    re.VERBOSE,
)
MATHS = frozenset(("number", "sign", "square", "money", "percent", "open", "close"))
LETTERS, FIGURES = frozenset(("word", "other")), frozenset(("number", "square", "percent"))
ENGLISH = re.compile(r"(?:[0-9]{1,3}(?:,[0-9]{3})+|0|[1-9][0-9]*)(?:\.[0-9]+)?|\.[0-9]+")
EUROPEAN = re.compile(r"(?:[0-9]{1,3}(?:[.'’][0-9]{3})+|0|[1-9][0-9]*)(?:,[0-9]+)?")


class Token(NamedTuple):
    """`text` is a sign's usual spelling; `readings` a number's values, the usual one first."""

    kind: str
    text: str
    start: int
    end: int
    readings: tuple[Fraction, ...] = ()
    parts: tuple[Fraction, ...] = ()  # of a number with a space in it, `1 1/2`, `5 000`: what stands before and behind
    usual: bool = True  # 1,000.50, which has no other reading than this


def tokens(text: str, start: int = 0, end: int | None = None) -> list[Token]:
    """What a part of a text is made of, without white space and annotations (`<<6*7=42>>`). A number that touches a letter,
    `5A`, is none, nor is one that has no reading, `3:30`."""
    found: list[Token] = []
    for match in TOKEN.finditer(text, start, len(text) if end is None else end):
        kind, written = str(match.lastgroup), match[0]
        if kind == "skip":
            continue
        if kind == "number":
            if values := number(written):
                found.append(Token(kind, written, match.start(), match.end(), *values))
                continue
            kind = "other"
        elif kind == "sign":
            written = SPELLED.get(written, written)
        elif kind in ("money", "percent"):
            written = written.lstrip("\\")
        found.append(Token(kind, written, match.start(), match.end()))
    return _without_variables(_mixed(_times(found)))


@lru_cache(maxsize=100_000)
def number(text: str) -> tuple[tuple[Fraction, ...], tuple[Fraction, ...], bool] | None:
    """Readings, parts and `usual` of a number; None where it is none."""
    if sum(map(str.isdigit, text)) > MOST_DIGITS:
        return None
    if text in VULGAR:
        return (Fraction(unicodedata.numeric(text)).limit_denominator(10),), (), False
    first, *groups = re.split(SPACE, re.sub(r"[\\!{}]", "", text))
    joined = first + "".join(groups)
    english = (Fraction(joined.replace(",", "")),) if ENGLISH.fullmatch(joined) else ()
    european = (Fraction(re.sub(r"[.'’]", "", joined).replace(",", ".")),) if EUROPEAN.fullmatch(joined) else ()
    readings = tuple(dict.fromkeys(english + european))
    if not readings:
        return None
    parts = (Fraction(first), Fraction(groups[-1].replace(",", "."))) if groups else ()
    return readings, parts, bool(english) and not groups


def expression(row: Sequence[Token], values: Sequence[Fraction] | None = None, percents: bool = True) -> str | None:
    """The expression of a row of maths tokens, of decimals, the four operations and brackets; None where they are none.

    `values` are the numbers' readings, the usual ones if not given; without `percents` 20 % counts as 20.
    """
    out: list[str] = []
    left = iter([token.readings[0] for token in row if token.readings] if values is None else values)
    before = ""  # kind of the token before
    for token in row:
        kind = token.kind
        if kind == "money":
            continue
        if kind == "number":
            if before in ("number", "percent", "square", "close"):
                return None
            written = literal(next(left))
            if before == "^":
                base = out[-1]
                if not written.isdigit() or not 1 <= int(written) <= MOST_POWER or base == ")":
                    return None
                out[-1] = f"({'*'.join([base] * int(written))})"
                before = "square"
                continue
            out.append(f"(0-{written})" if before == "negative" else written)
        elif kind == "percent":
            if before != "number":
                return None
            out[-1] = f"({out[-1]}/100)" if percents else out[-1]
        elif kind == "square":
            if before != "number":
                return None
            out[-1] = f"({'*'.join([out[-1]] * (2 if token.text == '²' else 3))})"
        elif kind == "open":
            if before in ("number", "percent", "square", "close"):
                out.append("*")
            elif before in ("negative", "^"):
                return None
            out.append("(")
        elif kind == "close":
            if before not in ("number", "percent", "square", "close"):
                return None
            out.append(")")
        elif token.text == "^":
            if before != "number":
                return None
            before = "^"
            continue
        elif before in ("", "open", "sign"):
            if token.text != "-":
                return None
            before = "negative"
            continue
        elif before in ("negative", "^"):
            return None
        else:
            out.append(token.text)
        before = kind
    return "".join(out) if before in ("number", "percent", "square", "close") else None


def literal(value: Fraction) -> str:
    """A number as an expression: a decimal if it is one."""
    rest = value.denominator
    for factor in (2, 5):
        while rest % factor == 0:
            rest //= factor
    if rest > 1:
        return f"({value.numerator}/{value.denominator})"
    places = next(places for places in range(64) if (value * 10**places).denominator == 1)
    digits = f"{(value * 10**places).numerator:0{places + 1}}"
    return f"{digits[:-places]}.{digits[-places:]}" if places else digits


def loosely_written(row: Sequence[Token]) -> bool:
    """Whether spaces say another order than the operations' own: `60 / 3/4`, `4+6 / 2`."""
    signs: list[tuple[int, str, int]] = []  # depth, sign, spaces
    depth = 0
    for place, token in enumerate(row):
        depth += (token.kind == "open") - (token.kind == "close")
        if token.kind != "sign" or token.text not in LEVEL or not 0 < place < len(row) - 1:
            continue
        wide = (row[place - 1].end < token.start) + (token.end < row[place + 1].start)
        before = next((sign for sign in reversed(signs) if sign[0] <= depth), None)
        if before and before[0] == depth:
            _, sign, spaces = before
            first, second = LEVEL[sign], LEVEL[token.text]
            if spaces > wide and (first > second or (first == second and sign in "-/")):
                return True
            if spaces < wide and first < second:
                return True
        signs.append((depth, token.text, wide))
    return False


def _times(row: list[Token]) -> list[Token]:
    """`x` between numbers is a sign."""
    for place in range(1, len(row) - 1):
        if (
            row[place].text in ("x", "X")
            and row[place - 1].kind in ("number", "percent", "close", "square", "money")
            and row[place + 1].kind in ("number", "open", "money")
            and (row[place + 1].kind != "open" or row[place - 1].end < row[place].start)  # not 2x(x-1)
        ):
            row[place] = row[place]._replace(kind="sign", text="*")
    return row


def _mixed(row: list[Token]) -> list[Token]:
    """`1 1/2`, `1½` as one number."""
    found: list[Token] = []
    place = 0
    while place < len(row):
        token = row[place]
        place += 1
        if token.kind == "number" and place < len(row) and row[place].kind == "number" and token.text.isdigit():
            share, used = _share(row[place : place + 3])
            spaces = row[place].start - token.end
            if share and spaces <= 1 and (spaces or used == 1):
                whole, end = token.readings[0], row[place + used - 1].end
                parts = (whole, share) if spaces else ()
                token = Token("number", f"{token.text} {share}", token.start, end, (whole + share,), parts, usual=False)
                place += used
        found.append(token)
    return found


def _share(row: Sequence[Token]) -> tuple[Fraction | None, int]:
    """The proper fraction that a row begins with and how many tokens it takes."""
    if row and row[0].text in VULGAR and row[0].kind == "number":
        return row[0].readings[0], 1
    if len(row) < 3 or [token.kind for token in row] != ["number", "sign", "number"] or row[1].text != "/":
        return None, 0
    over, _, under = row
    tight = over.end == row[1].start and row[1].end == under.start
    if tight and over.text.isdigit() and under.text.isdigit() and over.readings[0] < under.readings[0] <= 100:
        return over.readings[0] / under.readings[0], 3
    return None, 0


def _without_variables(row: list[Token]) -> list[Token]:
    """A number that touches a letter or a sign of no meaning here is none."""
    touching = {
        at
        for place, (one, other) in enumerate(pairwise(row))
        if one.end == other.start
        and ((one.kind in LETTERS and other.kind in FIGURES) or (one.kind in FIGURES and other.kind in LETTERS))
        for at in (place, place + 1)
    }
    return [
        token._replace(kind="other") if place in touching and token.kind in FIGURES else token
        for place, token in enumerate(row)
    ]


def has_decimal_comma(token: Token) -> bool:
    """`0,2`: a list to some, a fifth to others."""
    return token.kind == "number" and "," in token.text and not token.usual and not token.parts
