"""The final answer of a solution whose answers are numbers: where it stands, what number it is, whether it equals gold.

    extract("48 + 24 = 72 clips\\n#### 72")  ->  Extraction(answer="72", method="hash", span="72")

The answer is the last `#### X`, else the last `Answer: X`, else the last `\\boxed{X}` (marks.py), where X begins with a
number; else what the last sentence with a number says, a `fallback`. Behind a `####` with words a later mark goes first.
X must state one number: a currency before it, a unit behind it (`36 m^2`), and a second clause (`18 per day, so $126 per
week` is 18). Not one number, hence no answer: `6 or 7`, `5:00 PM` (`5 PM` is 5), `5 apples per 2 days`, `6-7`, `20 /`,
`1e5`, `2^3`, `2\\pi`, `eighteen`, `2Style` and `2=7`.

Numbers are exact fractions. A dot is the decimal point (`5.000` is 5), a comma or space stands between full groups of
three. `20k`, `2 million`, `5 dozen` (60), `3万` and `2 and a half` are read. A percent sign is a unit: `50%` is 50, as in
GSM8K's gold answers, never 0.5; the span keeps it. All functions take any text, in time linear in its length.

A fallback is a sentence's `answer is X`, or what follows its last `=`, or its only number; of several the one behind its
last `so`, `is` and the like, less spans of time (`$92 after 36 months`) and wholes (`8 of the 12`); else none.
"""

import logging
import re
import unicodedata
from fractions import Fraction
from functools import cache, lru_cache
from typing import Any

from regime_w.method.arithmetic import evaluate, parse
from regime_w.tasks.marks import MARKS, Extraction, Method, before, cut, is_last_line, last_boxed, last_match

MAX_DIGITS = 120  # of one written number; longer ones are noise
MAX_MAGNITUDE = 10**60  # of numerator and denominator
MAX_SENTENCE = 400  # characters before a text's last number that are looked at
TAIL = 40  # characters behind it
MAX_SIDES = 8  # of an equation
MAX_SCALES = 3  # `2 hundred thousand dozen`
ROUNDED = Fraction(1, 100)  # what both sides of an equation may differ by at least

SCALES = {
    **dict.fromkeys(("hundred", "hundreds"), 10**2),
    **dict.fromkeys(("k", "K", "thousand", "thousands", "千", "천"), 10**3),
    **dict.fromkeys(("万", "萬", "만"), 10**4),
    **dict.fromkeys(("lakh", "lakhs"), 10**5),
    **dict.fromkeys(("M", "MM", "mil", "mln", "mn", "mio", "million", "millions"), 10**6),
    **dict.fromkeys(("crore", "crores"), 10**7),
    **dict.fromkeys(("亿", "億", "억"), 10**8),
    **dict.fromkeys(("B", "bn", "bln", "billion", "billions"), 10**9),
    **dict.fromkeys(("tn", "trillion", "trillions"), 10**12),
    **dict.fromkeys(("dozen", "dozens", "doz"), 12),
}
MONEY_SCALES = {"m": 10**6, "b": 10**9, "t": 10**12, "T": 10**12}  # behind `$5`; elsewhere metres and tonnes
PARTS = {
    "half": Fraction(1, 2), "third": Fraction(1, 3), "thirds": Fraction(1, 3),
    "quarter": Fraction(1, 4), "quarters": Fraction(1, 4),
}  # fmt: skip
COUNTS = {"a": 1, "an": 1, "one": 1, "1": 1, "two": 2, "three": 3}

CHARACTERS = str.maketrans(
    {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}  # full-width forms
    | dict.fromkeys(map(ord, "\u2212\ufe63\uff0d"), "-")
    | dict.fromkeys([0xA0, *range(0x2000, 0x200B), 0x202F, 0x205F, 0x3000], " ")
    | dict.fromkeys([0x200B, 0x2060, 0xFEFF], "")
    | {ord("∘"): "°", ord("˚"): "°"}
    | {  # ½ and its like
        code: " " + unicodedata.normalize("NFKC", chr(code)).replace("\u2044", "/")
        for code in (0xBC, 0xBD, 0xBE, *range(0x2150, 0x215F))
    }
)
SIGNS = "$¢£¤¥֏؋৳৲૱௹฿៛﷼￠￡￥￦" + "".join(map(chr, range(0x20A0, 0x20D0)))
SIGN_SET = frozenset(SIGNS)
CODES = (
    "USD EUR GBP JPY CNY RMB INR AUD CAD NZD CHF HKD SGD TWD KRW SEK NOK DKK ISK PLN CZK HUF RON BGN RUB UAH TRY ILS AED "
    "SAR QAR KWD BHD OMR JOD EGP MAD TND DZD NGN GHS KES UGX TZS ZAR ETB PKR BDT LKR NPR MMK THB VND IDR MYR PHP KZT UZS "
    "GEL AMD BRL ARS CLP COP PEN UYU BOB PYG MXN CRC GTQ DOP JMD"
)
DECORATION = f" *_`:([{{\"'{SIGNS}"
CLOSING = f"*_`)]}}\"'{SIGNS}"
CURRENCY = (
    rf"(?:(?:[A-Z]{{1,3}}(?=[{SIGNS}])|(?:US|Rs|Re|Rp|RM|Tk|Fr|SFr|Php|kr|KSh|Ksh|{CODES.replace(' ', '|')})(?![A-Za-z])\.?"
    rf"|R(?=[0-9])) ?)"
)
GROUPED = r"[1-9][0-9]{0,2}(?:,[0-9]{3})+(?![0-9])"
SPACED = r"[1-9][0-9]{0,2}(?: [0-9]{3})+(?![0-9])"
DECIMALS = r"(?:\.[0-9]+)?"
DIGITS = re.compile(r"(?:0|[1-9][0-9]*)(?:\.[0-9]+)?")
CANONICAL = re.compile(r"-?[1-9][0-9]{0,17}|0")
VALUE = (
    r"(?:(?:(?P<whole>[0-9]+) (?:and )?)?(?P<top>[0-9]+) ?/ ?(?P<bottom>[0-9]+)"
    rf"|(?P<number>(?:{GROUPED}|{SPACED}|[0-9]+){DECIMALS}|\.[0-9]+))"
)
NUMBER = re.compile(
    rf"(?P<word>(?i:minus|negative|plus|positive) )?(?P<sign>[-+–]?) ?(?P<currency>{CURRENCY}?[{SIGNS}*_`]{{0,6}}) ?"
    rf"(?P<sign2>[-+–]?){VALUE}"
)
# In a sentence: signs only where they cannot be operators, no number that goes on from a word (`CO2`).
WITHIN = re.compile(
    rf"(?<![\w.,])(?P<word>(?i:minus|negative) )?(?P<sign>(?<![\w)] )(?<![\w)])-)?(?P<currency>{CURRENCY}?[{SIGNS}*_`]{{0,6}})"
    rf"(?P<sign2>){VALUE}(?!,?[0-9])"
)
SCALE = re.compile(
    r"(?:k|K|M|MM|B)(?![^\W_])|[ -]?(?P<word>k(?![^\W_])|[a-z]+(?![^\W_])|[A-Z][a-z]+(?![^\W_])|[千万萬亿億천만억])"
)
PART = re.compile(r"[ -](?:and )(?P<count>a|an|one|1|two|three)[ -](?P<part>half|thirds?|quarters?)\b", re.IGNORECASE)
HEDGE = re.compile(r"\bor\b", re.IGNORECASE)
OPERATOR = re.compile(r" ?(?:[+^=<>×÷±·√π∞:\\]|pi\b|\*(?!\*)|[-/](?! ?[A-Za-zµ°]))")
GLUED = re.compile(r"(?!(?:[KMGT]bps|[KMG]wh|[KM]ph)\b)[A-Z][a-z]{2,}|[^\W\d_]+:")
CLAUSE_END = re.compile(r"[,;(–—]|[.!?](?=\s|$)")
SECOND_NUMBER = re.compile(rf"[\s(\[{SIGNS}]{{0,9}}[-+]?\d")
# `m^2`, `cm^{3}`, `\text{ft} ^ 2`, `s⁻¹`; without a sign of power only where nothing else is meant: `ft2`.
POWER = re.compile(
    r"(?<![A-Za-z])(?:[A-Za-z]{2,}|[mshdgl])\.?\)? ?(?:\^ ?\{? ?-?[0-9] ?\}?|[⁻¹²³]{1,2})"
    r"|\b(?:[mcdk]?m|in|ft|yd|mi|inch|feet|sq)[23]\b"
)
LATEX = (
    (re.compile(r"\\(?:left|right|displaystyle|textstyle|[bB]igg?[lr]?)(?![A-Za-z])"), ""),
    (re.compile(r"\\[dtc]?frac ?([0-9])([0-9])(?![0-9])"), r" \1/\2"),
    (re.compile(r"\\[dtc]?frac ?(?:\{([^{}]*)\}|([0-9])) ?(?:\{([^{}]*)\}|([0-9]))"), r" \1\2/\3\4"),
    (re.compile(r"\\(?:(?:text|math)(?:bf|rm|it|sf|tt|normal)?|mbox|operatorname|unit|si) ?\{([^{}]*)\}"), r" \1 "),
    (re.compile(r"\^ ?\{? ?(?:\\circ|\\degree|°) ?\}?|\\(?:text)?degree(?![A-Za-z])"), "°"),
    (re.compile(r"\\!|(?<=[0-9])\{(?=,\})|(?<=,)\}(?=[0-9])"), ""),
    (re.compile(r"\\(?:[,;: ()\[\]]|quad|qquad)|(?<=[0-9}])~"), " "),
    (re.compile(r"\\(?:textdollar|pounds|euro|yen|rupee)(?![A-Za-z])|\\\$"), "$"),
    (re.compile(r"\\%"), "%"),
)  # fmt: skip

ANSWER_IS = re.compile(r"\banswer (?:is|was|would be|will be|should be|equals|=)[\s:*_]{0,8}(?:\$ ?)?", re.IGNORECASE)
OPERATION = re.compile(r" ?(?:[-+*/×÷^=]|or\b) ?[0-9$(]", re.IGNORECASE)
WORDS = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{3,}")
# A list's or heading's own number, `2. Total`.
ENUMERATION = re.compile(
    r"^[#*_ \t(\[-]{0,12}(?:step[ \t]{0,3})?[0-9]{1,2}[.):\]][*_)]{0,4}(?=[*_ \t]{1,8}[^\W\d_])", re.I | re.M
)
SENTENCE_END = re.compile(r"[.!?](?=\s|$)|\n")
CONNECTOR = re.compile(
    r"\b(?:so|hence|thus|therefore|then|which|that is|i\.e\.|making|leaving|giving|is|are|was|were|be|equals|equal to|"
    r"total of|result of)\b",
    re.IGNORECASE,
)
# A number that says when, how long or out of how many, not what is asked for.
GOVERNED = re.compile(
    r"\b(?P<whole>of|of the|out of|out of the)$|"
    r"\b(?:after|in|within|for|over|every|per|during|by|at|until|from|on|the (?:next|last|first))(?: the)?$",
    re.IGNORECASE,
)
TIME = re.compile(
    r"[ -]?(?:second|minute|min|hour|day|night|week|month|quarter|year|decade|o'clock|[ap]\.?m\b)", re.IGNORECASE
)

OTHERS: tuple[Method, ...] = ("answer", "boxed")

# What math-verify is asked about: short, and without powers and factorials, which sympy would work out.
ASKABLE = re.compile(r"(?!.*(?:\*\*|\d[eE][-+]?\d|\\(?![dt]?frac|text|[$%,!])))[^\^!\n]{1,80}")


def extract(text: str) -> Extraction:
    """Find the final answer of a completion."""
    return answer_and_reasoning(cut(text))[0]


def reasoning_part(text: str) -> str:
    """The completion up to the mark of its final answer; the whole of it where the answer has no mark."""
    return answer_and_reasoning(cut(text))[1]


def answer_and_reasoning(text: str) -> tuple[Extraction, str]:
    """What `extract` and `reasoning_part` find in a text that is cut already, for one search."""
    found, start = _find(text)
    return found, before(text, start)


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
        return bool(math_verify().verify(ours, theirs, timeout_seconds=None))
    except Exception:  # whatever its grammar and sympy raise on odd text, it is only a second opinion
        return None


@lru_cache(maxsize=20_000)
def _parsed(text: str) -> list[Any]:
    return math_verify().parse(text, parsing_timeout=None)


@cache
def math_verify() -> Any:
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
            if answer is None and not begins_with_number:
                continue
            if method == "hash" and _says_more(text, start, span) and (later := _marked_later(text, start)):
                return later
            # Where a final answer is not one number: no guess from elsewhere.
            return Extraction(answer, method if answer is not None else "none", span.strip()), start
    for start, span in last_boxed(text):  # a formula: a number in it is not the answer
        if any(map(str.isdigit, span)) and "\\" in span and not WORDS.search(span):
            return Extraction(None, "none", span.strip()), start
    answer, span = _unmarked(text)
    return Extraction(answer, "none" if answer is None else "fallback", span), len(text)


def _marked_later(text: str, start: int) -> tuple[Extraction, int] | None:
    """The number behind another mark than `####` after a place in the text."""
    for method in OTHERS:
        for position, span in reversed(MARKS[method](text)):
            if position > start and (answer := _read(span)[0]) is not None:
                return Extraction(answer, method, span.strip()), position
    return None


def _says_more(text: str, start: int, span: str) -> bool:
    """Whether a `####` with words may be a heading: the text goes on behind its line."""
    return any(map(str.isalpha, span)) and not is_last_line(text, start)


def _unmarked(text: str) -> tuple[str | None, str]:
    """The answer that the last sentence with a number gives, and what it was read from; see above."""
    if not text.isascii():
        text = text.translate(CHARACTERS)
    last = max(map(text.rfind, "0123456789"))
    if last < 0:
        return None, ""
    first = max(0, last - MAX_SENTENCE)
    window = text[first : last + 1 + TAIL]
    if first:
        window = window.lstrip("0123456789.,")  # the rest of a number that begins before
    window = ENUMERATION.sub("", _without_latex(window))
    if said := last_match(ANSWER_IS, window):
        match = NUMBER.match(window[said.end() :].lstrip(DECORATION))
        if match and not OPERATION.match(match.string, match.end()):
            return _number_of(match)
    sentence = _last_sentence(window)
    numbers = list(WITHIN.finditer(sentence, sentence.rfind("=") + 1))
    if "=" in sentence:
        numbers = numbers[:1]
    elif len(numbers) > 1:
        numbers = [number for number in numbers if not _governed(number)]
        for connector in reversed(list(CONNECTOR.finditer(sentence))):
            if behind := [number for number in numbers if number.start() >= connector.end()]:
                numbers = behind
                break
    if any(OPERATION.match(sentence, number.end()) for number in numbers):
        return None, ""
    values = {_number_of(number) for number in numbers}
    return values.pop() if len({value for value, _ in values}) == 1 else (None, "")


def _last_sentence(window: str) -> str:
    """The last sentence with a digit."""
    start = 0
    for end in SENTENCE_END.finditer(window):
        if not any(map(str.isdigit, window[end.end() :])):
            return window[start : end.start()]
        start = end.end()
    return window[start:]


def _governed(number: re.Match[str]) -> bool:
    """Whether a number in a sentence tells a time or a whole: `after 36 months`, `of the 12`."""
    preposition = GOVERNED.search(number.string[: number.start()].rstrip())
    if preposition is None:
        return False
    return preposition["whole"] is not None or TIME.match(number.string, number.end()) is not None


def _number_of(match: re.Match[str]) -> tuple[str | None, str]:
    """The canonical value of a number in a sentence, its scale with it, and its text."""
    text = match.string
    scaled = _scaled(_value(match), text[match.end() :], match["currency"])
    if scaled is None:
        return None, match[0].strip()
    value, rest = scaled
    return _canonical(value), text[match.start() : len(text) - len(rest)].strip()


def _without_latex(text: str) -> str:
    if "\\" in text or "{" in text:
        for pattern, replacement in LATEX:
            text = pattern.sub(replacement, text)
    return text


def _read(raw: str) -> tuple[str | None, bool]:
    """The one number that a text states, canonical, or None; and whether the text begins with a number."""
    if CANONICAL.fullmatch(plain := raw.strip(" ")):
        return plain, True
    text = " ".join(_without_latex(raw.translate(CHARACTERS)).split()).rstrip("\\ ")
    *sides, last_side = text.rsplit("=", MAX_SIDES)
    stripped = last_side.lstrip(DECORATION)
    match = NUMBER.match(stripped)
    if match is None:
        return None, NUMBER.match(text.lstrip(DECORATION)) is not None
    before_it = last_side[: len(last_side) - len(stripped)] + match["currency"]
    scaled = _scaled(_value(match), match.string[match.end() :].lstrip(CLOSING), before_it)
    if scaled is None or HEDGE.search(text):
        return None, True
    value, rest = scaled
    if not _is_unit(rest) or any(_contradicts(side, value, match) for side in sides):
        return None, True
    return _canonical(value), True


def _value(match: re.Match[str]) -> Fraction | None:
    """The value of a NUMBER match; None for too many digits, two signs, a zero denominator or `2 5/3`."""
    word = (match["word"] or "").strip().lower()
    sign = ("-" if word in ("minus", "negative") else "+" if word else "") + (match["sign"] or "") + match["sign2"]
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


def _scaled(value: Fraction | None, rest: str, currency: str) -> tuple[Fraction, str] | None:
    """A number with what multiplies it (`k`, `million`, `and a half`), and what is left behind; None for no number."""
    if value is None:
        return None
    if (part := PART.match(rest)) and value.denominator == 1:
        share = COUNTS[part["count"].lower()] * PARTS[part["part"].lower()]
        value, rest = (value - share if value < 0 else value + share), rest[part.end() :]
    money = set(currency) & SIGN_SET - ({"$"} if "$" in rest else set())  # `$5m$` is a formula
    if (letter := rest[:1]) in MONEY_SCALES and money and not rest[1:2].isalnum():
        return value * MONEY_SCALES[letter], rest[1:]
    for _ in range(MAX_SCALES):
        scale = SCALE.match(rest)
        factor = scale and SCALES.get(scale[0].strip(" -") if scale["word"] is None else scale["word"].lower())
        if not (scale and factor):
            break
        value, rest = value * factor, rest[scale.end() :]
    return None if PART.match(rest) else (value, rest)


def _is_unit(rest: str) -> bool:
    """Whether what follows a number leaves it the one answer: a unit, or a clause on its own that begins with no other."""
    if GLUED.match(rest) or OPERATOR.match(rest := rest.removeprefix(" ").removeprefix("%")):
        return False
    end = CLAUSE_END.search(rest)
    clause, tail = (rest[: end.start()], rest[end.end() :]) if end else (rest, "")
    if not clause.isascii() or any(map(str.isdigit, clause)):
        clause = POWER.sub("", clause)
    return not any(map(str.isnumeric, clause)) and not SECOND_NUMBER.match(tail)


def _contradicts(side: str, value: Fraction, match: re.Match[str]) -> bool:
    """Whether another side of an equation, a calculation in plain numbers, comes to something else: `2=7`."""
    plain = side.strip(DECORATION + CLOSING)
    if not plain or any(map(str.isalpha, plain)) or (tree := parse(plain.replace("$", ""))) is None:
        return False
    places = len((match["number"] or "").partition(".")[2])
    return abs(evaluate(tree, {}) - value) >= max(ROUNDED, Fraction(1, 10**places))


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
