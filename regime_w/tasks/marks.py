"""Where a text states its final answer: behind `####`, behind `Answer:`, in `\\boxed{}`.

    after_hash("48 + 24 = 72 clips\\n#### 72")    # [Place(start=19, span="72")]

A text is cut first (`cut`): at its end-of-sequence mark and where a next `Question` begins. `#### 2. Total` is a numbered
heading, no answer. All functions take any text, in time linear in its length.
"""

import re
from collections import deque
from collections.abc import Callable
from typing import Literal, NamedTuple

Method = Literal["hash", "answer", "boxed", "fallback", "none", "function"]


class Extraction(NamedTuple):
    """The canonical answer or None, how it was found, and the raw text it was read from."""

    answer: str | None
    method: Method
    span: str


class Place(NamedTuple):
    """Where a mark begins, and what it says."""

    start: int
    span: str


END_MARKS = ("</s>", "<|im_end|>", "<|endoftext|>")
NEXT_QUESTION = re.compile(r"\n[ \t]*Question\b")
HASH = re.compile(r"(?<!#)#{4}(?!#)[ \t]*([^\s#][^\n#]*)")
ANSWER = re.compile(r"\banswer[ \t*_]{0,4}:[\s*_]{0,8}", re.IGNORECASE)
BOXED = re.compile(r"\\boxed\s{0,4}\{")
BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
# `1. Cost`, `2) Total`, `**3: Sum**`, `(4) Rest`, `5 - Result`
HEADING = re.compile(r"[*_ (\[]{0,8}([0-9]{1,2})(?:[.):\]][*_ ]{0,8}|[*_ ]{0,4} [-–—] [*_ ]{0,8})[^\W\d_]")


def cut(text: str) -> str:
    """The text before its first end-of-sequence mark and before a next `Question` at the start of a line."""
    start = len(text) - len(text.lstrip())
    question = NEXT_QUESTION.search(text, start)
    ends = [question.start()] if question else []
    ends += [position for mark in END_MARKS if (position := text.find(mark)) >= 0]
    return text[: min(ends, default=len(text))]


def before(text: str, start: int) -> str:
    """The reasoning: what stands before a mark."""
    return text[:start].rstrip(" \t\r\n*_$#")


def after_hash(text: str) -> list[Place]:
    """Each `####` with what follows it on its line, less headings: those that count 1, 2, 3 with words behind the number,
    where more than one is there or the text goes on."""
    first = text.find("####")
    if first < 0:
        return []
    found = []
    for number, match in enumerate(HASH.finditer(text, first), 1):
        heading = HEADING.match(match[1])
        if not (heading and int(heading[1]) == number and (number > 1 or not _ends(text, match.end()))):
            found.append(Place(match.start(), match[1]))
    return found


def after_answer(text: str) -> list[Place]:
    """Each `Answer:` with what follows it, up to the line's end or the next `Answer:`."""
    marks = list(ANSWER.finditer(text))
    ends = [*(mark.start() for mark in marks), len(text)][1:]
    return [
        Place(mark.start(), text[mark.end() : end].partition("\n")[0]) for mark, end in zip(marks, ends, strict=True)
    ]


def last_boxed(text: str) -> list[Place]:
    """The last `\\boxed{...}` with balanced braces, as a list of at most one."""
    last = last_match(BOXED, text)
    inside = box_at(text, last) if last else None
    return [Place(last.start(), inside)] if last and inside is not None else []


def box_at(text: str, opening: re.Match[str]) -> str | None:
    """What stands in a box that a BOXED match opens; None where its braces are not balanced."""
    depth = 1
    for brace in BRACE.finditer(text, opening.end()):
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if depth == 0:
            return text[opening.end() : brace.start()]
    return None


MARKS: dict[Method, Callable[[str], list[Place]]] = {"hash": after_hash, "answer": after_answer, "boxed": last_boxed}


def last_marks(text: str) -> list[tuple[Method, Place]]:
    """All marks, the last first, for answers that may be any text; a `####` that the text goes on behind comes after all
    others, since it may be a heading."""
    places = [(method, place) for method, own in MARKS.items() for place in own(text)]
    headings = {place for method, place in places if method == "hash" and not is_last_line(text, place.start)}
    return sorted(places, key=lambda each: (each[1] in headings, -each[1].start))


def is_last_line(text: str, start: int) -> bool:
    """Whether nothing but blanks follows the line of this position."""
    end = text.find("\n", start)
    return end < 0 or _ends(text, end)


def last_match(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    return next(iter(deque(pattern.finditer(text), maxlen=1)), None)


def _ends(text: str, position: int) -> bool:
    following = re.compile(r"\S").search(text, position)
    return following is None
