"""The final answer of a solution: where it stands, what number it is, whether it equals the gold answer.

    extract("48 + 24 = 72 clips\\n#### 72")  ->  Extraction(answer="72", method="hash", span="72")

A text is cut at its end-of-sequence mark and where a next `Question` begins. The answer is the last `#### X`, else the
last `Answer: X`, else the last `\\boxed{X}`, where X begins with a number; else the last number anywhere, a `fallback`.
X must state one number: units may follow it, and a second clause (`18 per day, so $126 per week` is 18). Not one
number, hence no answer: `6 or 7`, `5:00 PM` (`5 PM` is 5), `5 apples per 2 days`, `6-7`, `20 /`, `1e5`, `2^3`, `eighteen`.

Numbers are exact fractions. A dot is the decimal point (`5.000` is 5), a comma or space stands between full groups of
three. A percent sign is a unit: `50%` is 50, as in GSM8K's gold answers, never 0.5; the span keeps it.
All functions take any text, in time linear in its length.
"""

import logging
import re
from collections import deque
from collections.abc import Callable
from fractions import Fraction
from functools import cache, lru_cache
from typing import Any, Literal, NamedTuple

Method = Literal["hash", "answer", "boxed", "fallback", "none"]


class Extraction(NamedTuple):
    """The canonical answer (see `normalise`) or None, how it was found, and the raw text it was read from."""

    answer: str | None
    method: Method
    span: str


END_MARKS = ("</s>", "<|im_end|>", "<|endoftext|>")
NEXT_QUESTION = re.compile(r"\n[ \t]*Question\b")
HASH = re.compile(r"(?<!#)#{4}(?!#)[ \t]*([^\s#][^\n#]*)")
ANSWER = re.compile(r"\banswer[ \t*_]{0,4}:[\s*_]{0,8}", re.IGNORECASE)
BOXED = re.compile(r"\\boxed\s{0,4}\{")

MAX_DIGITS = 120  # of one written number; longer ones are noise
MAX_MAGNITUDE = 10**60  # of numerator and denominator
SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}

CHARACTERS = str.maketrans(
    dict.fromkeys(map(ord, "\u2212\ufe63\uff0d"), "-")
    | dict.fromkeys([0xA0, *range(0x2000, 0x200B), 0x202F, 0x205F, 0x3000], " ")
    | dict.fromkeys([0x200B, 0x2060, 0xFEFF], "")
)
DECORATION = " $€£*_`:([{\"'"
CLOSING = "$*_`)]}\"'"
GROUPED = r"[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])"
SPACED = r"[0-9]{1,3}(?: [0-9]{3})+(?![0-9])"
DECIMALS = r"(?:\.[0-9]+)?"
DIGITS = re.compile(r"(?:0|[1-9][0-9]*)(?:\.[0-9]+)?")
CANONICAL = re.compile(r"-?[1-9][0-9]{0,17}|0")
NUMBER = re.compile(
    r"(?P<sign>[-+–]?) ?(?:(?:USD|US|EUR|GBP) ?)?[$€£*_`]{0,6} ?(?P<sign2>[-+–]?)"
    r"(?:(?:(?P<whole>[0-9]+) )?(?P<top>[0-9]+) ?/ ?(?P<bottom>[0-9]+)"
    rf"|(?P<number>(?:{GROUPED}|{SPACED}|[0-9]+){DECIMALS}|\.[0-9]+))"
)
LAST_NUMBER = re.compile(rf"(?:(?<![\w)])-)?(?:(?:{GROUPED}|[0-9]+){DECIMALS}|\.[0-9]+)(?:/[0-9]+)?")
SCALE = re.compile(rf" ?({'|'.join(SCALES)})\b", re.IGNORECASE)
HEDGE = re.compile(r"\bor\b", re.IGNORECASE)
OPERATOR = re.compile(r" ?(?:[+^=<>×÷±:]|\*(?!\*)|[-/](?! ?[A-Za-z]))")
CLAUSE_END = re.compile(r"[,;(–—]|[.!?](?=\s|$)")
SECOND_NUMBER = re.compile(r"[\s(\[$€£]{0,9}[-+]?\d")
LATEX = (
    (re.compile(r"\\[dt]?frac ?\{([^{}]*)\} ?\{([^{}]*)\}"), r" \1/\2"),
    (re.compile(r"\\(?:text|textbf|mathrm|mathbf) ?\{([^{}]*)\}"), r" \1 "),
    (re.compile(r"\\!|(?<=[0-9])\{(?=,\})|(?<=,)\}(?=[0-9])"), ""),
    (re.compile(r"\\(?:[,;: ()\[\]]|quad|qquad)"), " "),
    (re.compile(r"\\([$%])"), r"\1"),
)

# What math-verify is asked about: short, and without powers and factorials, which sympy would work out.
ASKABLE = re.compile(r"(?!.*(?:\*\*|\d[eE][-+]?\d|\\(?![dt]?frac|text|[$%,!])))[^\^!\n]{1,80}")


def extract(text: str) -> Extraction:
    """Find the final answer of a completion."""
    return _find(cut(text))[0]


def reasoning_part(text: str) -> str:
    """The completion up to the mark of its final answer; the whole of it where the answer has no mark."""
    return answer_and_reasoning(cut(text))[1]


def answer_and_reasoning(text: str) -> tuple[Extraction, str]:
    """What `extract` and `reasoning_part` find in a text that is cut already, for one search."""
    found, start = _find(text)
    return found, text[:start].rstrip(" \t\r\n*_$#")


def cut(text: str) -> str:
    """The text before its first end-of-sequence mark and before a next `Question` at the start of a line."""
    start = len(text) - len(text.lstrip())
    question = NEXT_QUESTION.search(text, start)
    ends = [question.start()] if question else []
    ends += [position for mark in END_MARKS if (position := text.find(mark)) >= 0]
    return text[: min(ends, default=len(text))]


def normalise(raw: str) -> str | None:
    """The one number that `raw` states, in canonical form ("18", "-0.5", "1/3"), or None.

    Equal numbers have equal canonical forms, and a canonical form is its own.
    """
    return raw if CANONICAL.fullmatch(raw) else _read(raw)[0]


def equal(a: str | None, b: str | None) -> bool:
    """Whether both state the same number, exactly; None equals nothing."""
    if a is None or b is None:
        return False
    number = normalise(a)
    return number is not None and number == normalise(b)


def gold_from_rationale(answer: str) -> str:
    """The gold answer of a GSM8K rationale: what follows its last `####`, canonical where it is a number, else as is."""
    _, mark, tail = answer.rpartition("####")
    return (normalise(tail) or tail.strip()) if mark else ""


def math_verify_agrees(span: str, gold: str) -> bool | None:
    """Whether math-verify reads `span` as the gold answer; None where it is not asked (long, or with powers) or fails.

    Without its time limits, which need SIGALRM and so the main thread.
    """
    span, gold = span.strip(), gold.strip()
    if not ASKABLE.fullmatch(span):
        return None
    try:
        ours, theirs = _parsed(gold), _parsed(span)
        if ours and theirs and _is_integer(ours[0]) and _is_integer(theirs[0]):
            return bool(ours[0] == theirs[0])  # as verify finds after trying much else
        return bool(_math_verify().verify(ours, theirs, timeout_seconds=None))
    except Exception:  # whatever its grammar and sympy raise on odd text, it is only a second opinion
        return None


@lru_cache(maxsize=20_000)
def _parsed(text: str) -> list[Any]:
    return _math_verify().parse(text, parsing_timeout=None)


@cache
def _math_verify() -> Any:
    """The package, imported once, reading plain numbers without a Python parser.

    Its parser hands each number's digits to `sympy.Number`, which runs `from sympy import *` for each of them: most of the
    time that scoring would take.
    """
    import math_verify
    import math_verify.parser

    logging.getLogger("math_verify").setLevel(logging.ERROR)
    math_verify.parser.Number = number_of_digits
    return math_verify


def number_of_digits(digits: str) -> Any:
    """sympy.Number(digits), the same number of the same precision."""
    import sympy

    if not DIGITS.fullmatch(digits):
        return sympy.Number(digits)
    return sympy.Float(digits) if "." in digits else sympy.Integer(digits)


def _is_integer(value: Any) -> bool:
    import sympy

    return isinstance(value, sympy.Integer)


def _find(text: str) -> tuple[Extraction, int]:
    """The answer of a text that is cut already, and where its mark begins (the text's end for a fallback)."""
    for method, places in MARKS.items():
        for start, span in reversed(places(text)):
            answer, begins_with_number = _read(span)
            if answer is not None:
                return Extraction(answer, method, span.strip()), start
            if begins_with_number:  # a final answer that is not one number: no guess from elsewhere
                return Extraction(None, "none", span.strip()), start
    last = _last_match(LAST_NUMBER, text.translate(CHARACTERS))
    answer = normalise(last[0]) if last else None
    if last is None or answer is None:
        return Extraction(None, "none", ""), len(text)
    return Extraction(answer, "fallback", last[0]), len(text)


def _after_hash(text: str) -> list[tuple[int, str]]:
    """Start of each `####` and what follows it on its line."""
    first = text.find("####")
    return [(match.start(), match[1]) for match in HASH.finditer(text, first)] if first >= 0 else []


def _after_answer(text: str) -> list[tuple[int, str]]:
    """Start of each `Answer:` and what follows it, up to the line's end or the next `Answer:`."""
    marks = list(ANSWER.finditer(text))
    ends = [*(mark.start() for mark in marks), len(text)][1:]
    return [(mark.start(), text[mark.end() : end].partition("\n")[0]) for mark, end in zip(marks, ends, strict=True)]


def _last_boxed(text: str) -> list[tuple[int, str]]:
    """Start and content of the last `\\boxed{...}` with balanced braces, as a list of at most one."""
    last = _last_match(BOXED, text)
    if last is None:
        return []
    depth = 1
    for brace in re.finditer(r"[{}]", text[last.end() :]):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return [(last.start(), text[last.end() : last.end() + brace.start()])]
    return []


MARKS: dict[Method, Callable[[str], list[tuple[int, str]]]] = {
    "hash": _after_hash,
    "answer": _after_answer,
    "boxed": _last_boxed,
}


def _last_match(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    return next(iter(deque(pattern.finditer(text), maxlen=1)), None)


def _read(raw: str) -> tuple[str | None, bool]:
    """The one number that a text states, canonical, or None; and whether the text begins with a number."""
    if CANONICAL.fullmatch(plain := raw.strip(" ")):
        return plain, True
    text = raw.translate(CHARACTERS)
    if "\\" in text or "{" in text:
        for pattern, replacement in LATEX:
            text = pattern.sub(replacement, text)
    text = " ".join(text.split())
    last_side = text.rpartition("=")[2]
    match = NUMBER.match(last_side.lstrip(DECORATION))
    if match is None:
        return None, NUMBER.match(text.lstrip(DECORATION)) is not None
    value = _value(match)
    rest = match.string[match.end() :].lstrip(CLOSING)
    if scale := SCALE.match(rest):
        value = value and value * SCALES[scale[1].lower()]
        rest = rest[scale.end() :]
    if value is None or HEDGE.search(text) or not _is_unit(rest):
        return None, True
    return _canonical(value), True


def _value(match: re.Match[str]) -> Fraction | None:
    """The value of a NUMBER match; None for too many digits, two signs, a zero denominator or `2 5/3`."""
    sign = match["sign"] + match["sign2"]
    if len(sign) > 1 or match.end() - match.start() > MAX_DIGITS:
        return None
    if match["number"]:
        value = Fraction(re.sub("[, ]", "", match["number"]))
    else:
        top, bottom = int(match["top"]), int(match["bottom"])
        if bottom == 0 or (match["whole"] and top >= bottom):
            return None
        value = int(match["whole"] or 0) + Fraction(top, bottom)
    return value if sign in ("", "+") else -value


def _is_unit(rest: str) -> bool:
    """Whether what follows a number leaves it the one answer: a unit, or a clause on its own that begins with no other."""
    rest = rest.removeprefix(" ").removeprefix("%")
    if OPERATOR.match(rest):
        return False
    end = CLAUSE_END.search(rest)
    clause, tail = (rest[: end.start()], rest[end.end() :]) if end else (rest, "")
    return not any(map(str.isnumeric, clause)) and not SECOND_NUMBER.match(tail)


def _canonical(value: Fraction) -> str | None:
    """An integer, a decimal of at most 20 places, or a reduced fraction; None beyond MAX_MAGNITUDE."""
    top, bottom = abs(value.numerator), value.denominator
    if max(top, bottom) >= MAX_MAGNITUDE:
        return None
    sign = "-" if value < 0 else ""
    if bottom == 1:
        return f"{sign}{top}"
    places = 0
    while places < 20 and 10**places % bottom:
        places += 1
    if 10**places % bottom:
        return f"{sign}{top}/{bottom}"
    digits = str(top * (10**places // bottom)).zfill(places + 1)
    return f"{sign}{digits[:-places]}.{digits[-places:]}"
