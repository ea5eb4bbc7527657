"""Answers that are mathematical expressions, found, read and compared by math-verify in a process of its own (judge.py).

    verifier.grade("so \\\\boxed{\\\\frac34}", "0.75", {})     # answer="0.75", correct=True

The answer stands in the last `\\boxed{}` or `Final answer:`, else behind the last other mark (`Answer:`, `####` as the last
line); boxes that follow one another are one answer. Without a mark it is what math-verify finds in the text's end, a
`fallback`. What states one number is written as number (answers.py), so that most are compared without math-verify; other
answers are as they were written, less spaces, `$` and a full stop. math-verify decides whether two are equal, the first being
the reference; that takes a simplifier, hence a limit of time, of memory and of length: what is longer than LONGEST is none.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

from regime_w.runtime.errors import UserError
from regime_w.tasks.answers import CANONICAL, math_verify, normalise
from regime_w.tasks.judge import Judge
from regime_w.tasks.marks import BOXED, Extraction, Method, Place, before, box_at, last_boxed, last_marks
from regime_w.tasks.verifier import Grade, Row, Verifier

LONGEST = 1_000  # characters of an answer
TAIL = 2_000  # characters of a text's end in which an unmarked answer is looked for
PAIRS = 200_000  # comparisons that are remembered

# A number with a unit or currency: no letters but in words, no command but those of fractions, text and degrees.
NUMBER_LIKE = re.compile(
    r"(?:\\(?:[dt]?frac(?![A-Za-z])|(?:text|mathrm) ?\{[^{}]*\}|circ(?![A-Za-z])|[$%,!; ])"
    r"|[^\\A-Za-z=|<>_\[\]()]|[A-Za-z]{3,}(?![A-Za-z]))+"
)
FINAL = re.compile(r"\bfinal\W{0,4}$", re.IGNORECASE)
DELIMITED = re.compile(r"\$|\\[(\[]|\\boxed")
WORDY = re.compile(r"(?<![\\A-Za-z{])[A-Za-z]{3,}")
MATHEMATICAL = re.compile(r"[\\^_{}=<>|]")
# Between boxes that are one answer: `and`, `or`, a comma, or nothing but the formula's own marks; no end of a sentence.
BETWEEN_BOXES = re.compile(
    r"(?![^\n]*[.!?]\s+[A-Z])(?=[^\n]*(?:\b(?:and|or)\b|[,;]|\\quad|\\\\)|[\s$\\()\[\]]*$)[^\n]{0,60}$|\s*$"
)


class Latex(Verifier):
    name = "latex"
    slow = True

    def __init__(self, timeout: float) -> None:
        self.judge = Judge("regime_w.tasks.latex:answer", timeout)
        self.compare = lru_cache(PAIRS)(self._compare)
        self.reads = lru_cache(PAIRS)(lambda text: bool(self.judge.ask({"readable": text}).value))

    def gold(self, raw: Any, row: Row | None = None) -> str | None:
        answer = super().gold(raw, row)
        if answer is None or CANONICAL.fullmatch(answer) or self.reads(answer):
            return answer
        return None

    def read(self, text: str, row: Row) -> str | None:
        boxes = last_boxed(text)
        return written(connected_boxes(text, boxes[0]).span if boxes else text)

    def find(self, text: str, row: Row) -> tuple[Extraction, str]:
        for method, (start, span) in sorted(last_marks(text), key=lambda mark: not _is_final(text, *mark)):
            if method == "boxed":
                start, span = connected_boxes(text, Place(start, span))
            if (answer := written(span)) is not None:
                return Extraction(answer, method, span.strip()), before(text, start)
        found = self.judge.ask({"find": text[-TAIL:]}).value
        answer = written(found) if found else None
        return Extraction(answer, "none" if answer is None else "fallback", found or ""), before(text, len(text))

    def grade_all(self, texts: Sequence[str], gold: str | None, row: Row | None = None) -> list[Grade]:
        grades = super().grade_all(texts, gold, row)
        classes, written_as = [gold] if gold else [], dict[str, str]()
        for grade in grades:
            own = grade.answer
            if own is None or own in written_as:
                continue
            like = next((each for each in classes if self.equal(each, own)), own)
            if like == own:
                classes.append(own)
            written_as[own] = like
        return [grade._replace(answer=written_as[grade.answer]) if grade.answer else grade for grade in grades]

    def same(self, a: str | None, b: str | None) -> tuple[bool, str | None]:
        if a is None or b is None or a == b:
            return a is not None and a == b, None
        if CANONICAL.fullmatch(a) and CANONICAL.fullmatch(b):
            return False, None
        return self.compare(a, b)

    def _compare(self, a: str, b: str) -> tuple[bool, str | None]:
        reply = self.judge.ask({"same": [a, b]})
        return bool(reply.value), reply.fault

    def close(self) -> None:
        self.judge.close()


def _is_final(text: str, method: Method, place: Place) -> bool:
    """Whether a mark goes before others: a box, or a `Final answer:`; others stand in sentences too (`check our answer: ...`)."""
    return method == "boxed" or (
        method == "answer" and FINAL.search(text[max(0, place.start - 12) : place.start]) is not None
    )


def written(span: str) -> str | None:
    """An answer as it is kept, or None for one that is empty or too long."""
    if len(span) > LONGEST:
        return None
    text = " ".join(span.split()).strip("*`").strip()
    text = text.removesuffix(".").rstrip() if not text.endswith("\\.") else text
    for opening, closing in (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]")):
        inside = text[len(opening) : -len(closing)]
        # With words inside, the marks say that it is a formula.
        if (
            text.startswith(opening)
            and text.endswith(closing)
            and inside
            and not (opening in inside or WORDY.search(inside))
        ):
            text = inside.strip()
            break
    text = text.removesuffix(".").rstrip() if not text.endswith("\\.") else text
    if NUMBER_LIKE.fullmatch(text) and (number := normalise(text)) is not None:
        return number
    return text or None


def connected_boxes(text: str, last: Place) -> Place:
    """The last box with those right before it: `\\boxed{1}, \\boxed{2}` and `\\boxed{1} and \\boxed{2}` are one answer."""
    start, spans = last.start, [last.span]
    for match in reversed(list(BOXED.finditer(text, max(0, last.start - LONGEST), last.start))):
        inside = box_at(text, match)
        if inside is None or (end := match.end() + len(inside) + 1) > start:
            break
        if not BETWEEN_BOXES.match(text[end:start]):
            break
        start, spans = match.start(), [inside, *spans]
    return Place(start, ", ".join(dict.fromkeys(spans)))


def answer(request: dict[str, Any]) -> Any:
    """What a judge asks, in a process that may be ended: {"same": [reference, other]}, {"readable": text}, {"find": text}."""
    if "same" in request:
        reference, other = map(expressions, request["same"])
        return bool(math_verify().verify(reference, other, timeout_seconds=None))
    if "readable" in request:
        return bool(expressions(request["readable"]))
    found = [item for item in math_verify().parse(request["find"], parsing_timeout=None) if isinstance(item, str)]
    return found[0] if found else None


@lru_cache(maxsize=5_000)
def expressions(text: str) -> list[Any]:
    """What math-verify reads in an answer: an expression and its text, or nothing."""
    parse = math_verify().parse
    if DELIMITED.search(text):
        return list(parse(text, parsing_timeout=None))
    tries = (
        [f"${text}$", text] if MATHEMATICAL.search(text) or not WORDY.search(text) else [text, rf"$\text{{{text}}}$"]
    )
    for each in tries:
        found = parse(each, parsing_timeout=None)
        if any(not isinstance(item, str) for item in found):
            return list(found)
    return [text]


def warm() -> None:
    """Have math-verify's grammar and patterns made, before processes are forked that use them."""
    answer({"same": ["\\frac{1}{2}x^2", "x"]})


def require() -> None:
    """UserError where math-verify is not installed."""
    if not find_spec("math_verify"):
        raise UserError("task.verifier latex needs the package math-verify; install it")
