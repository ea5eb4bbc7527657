"""Answers that are one of several options, `choice`: a letter, with the options in the question's record.

    row = {"options": ["A)5", "B)6", "C)none of these"]}    # or ["5", "6", ...], {"A": "5", ...}, {"label": [...], "text": [...]}
    verifier.grade("so the answer is (B)", "B", row)          # answer="B", correct=True

An answer is the letter, `(B)`, `B)`, `B. text`, `option B`, or an option's text, after a mark (`####`, `Answer:`, `\\boxed{}`)
or `the answer is`, `Ans. B` and the like; the last goes first. Several letters (`A or B`) are no answer. Without a mark it
is the last `(B)` or `B)` in the text, or its last line, a `fallback`. Without options the letters A to J are known.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from string import ascii_uppercase
from typing import Any

from regime_w.tasks.answers import normalise
from regime_w.tasks.exact import TEXT, first_sentence, plain
from regime_w.tasks.marks import Extraction, Method, Place, before, last_marks, last_match
from regime_w.tasks.verifier import Row, Verifier

LETTERS = ascii_uppercase[:10]
LONGEST = 1_000  # characters of an answer
LABEL = re.compile(r"\s*\(?([A-Za-z])\s*(?:[).:]|\s-|$)\s*")  # of an option: `A)5`, `(A) 5`, `A. 5`, `A: 5`
LEADING = " \t*_`$\"'{["
OPTION = re.compile(r"(?:(?:the )?(?:correct )?(?:option|choice|answer|letter)(?: is)?:? ?)?[*_$ ]{0,4}", re.IGNORECASE)
LETTER = re.compile(r"[(\[{]?([A-Za-z])[)\]}]?(?=$|[\s.,:;)*_$\"'}-])(?P<behind>.*)", re.DOTALL)
OTHER = re.compile(
    r"^\W*(?:or|and|/|,|&)?\W*[(\[]?[A-J][)\]]?(?!\w|')|\b(?:or|and)\b\W{0,4}(?:option )?\(?[A-J]\)?(?!\w|')"
)
SAYS = re.compile(
    r"\b(?:answer|ans|(?:correct|right) (?:option|choice))\b(?: (?:is|was|would be|will be|should be|choice|option|letter))*"
    r"(?:[ \t:=.,*_–-]|\n(?!\n)){1,8}(?=\S)",
    re.IGNORECASE,
)
ALONE = re.compile(r"(?<![\w'])([A-J])(?![\w'])")
LAST = re.compile(r"(?<![\w(])(?:\(([A-Z])\)|([A-Z])\))")


class Choice(Verifier):
    name = "choice"

    def gold(self, raw: Any, row: Row | None = None) -> str | None:
        """A letter, an option's text, or the option's number from 0 where no option has it for its text."""
        known = options_of(row or {})
        answer = super().gold(raw, row)
        if answer is None and type(raw) is int and 0 <= raw < len(known):
            return list(known)[raw]
        return answer

    def read(self, text: str, row: Row) -> str | None:
        return letter(text, options_of(row))

    def find(self, text: str, row: Row) -> tuple[Extraction, str]:
        known = options_of(row)
        places: list[tuple[Method, Place]] = last_marks(text)
        if said := last_match(SAYS, text):
            phrase = Place(said.start(), first_sentence(text, said.end()))
            later = [place.start > phrase.start for _, place in places]
            places.insert(later.index(False) if False in later else len(later), ("answer", phrase))
        for method, (start, span) in places:
            if (answer := letter(span, known)) is not None:
                return Extraction(answer, method, span.strip()), before(text, start)
            if len(set(ALONE.findall(span)) & set(known)) > 1:
                return Extraction(None, "none", span.strip()), before(text, start)
        reasoning = before(text, len(text))
        last = last_match(LAST, text)
        if last and (answer := last[1] or last[2]) in known:
            return Extraction(answer, "fallback", last[0]), reasoning
        line = text.rstrip().rpartition("\n")[2]
        answer = letter(line, known)
        return Extraction(answer, "none" if answer is None else "fallback", line if answer else ""), reasoning


def letter(text: str, known: Mapping[str, str]) -> str | None:
    """The option that a text names, by its letter or its text; None for none or several."""
    if len(text) > LONGEST:
        return None
    if (whole := by_text(text, known)) is not None:
        return whole
    stripped = TEXT.sub(r"\1", text).strip().lstrip(LEADING)
    named = OPTION.match(stripped)
    start = named.end() if named else 0
    match = LETTER.match(stripped, start)
    if match is None or match[1].upper() not in known:
        return None
    behind = match["behind"].strip()
    bare = stripped[match.start() : match.end(1) + 1].strip()
    if match[1].islower() and not (bare[0] in "([{" or not behind.strip(" .)*_$}\"'")):  # `a car`
        return None
    if match[1] in "AI" and bare == match[1] and behind[:1].isalpha():  # `A car`, `I think`
        return None
    own = match[1].upper()
    return None if OTHER.search(behind) and plain(behind) != known[own] else own


def by_text(text: str, known: Mapping[str, str]) -> str | None:
    """The one option with this text, or this number."""
    wanted = plain(text)
    if wanted is None:
        return None
    same = [key for key, option in known.items() if option and option == wanted]
    if not same and (number := normalise(text)) is not None:
        same = [key for key, option in known.items() if option and normalise(option) == number]
    return same[0] if len(same) == 1 else None


def options_of(row: Row) -> dict[str, str]:
    """The options by letter, in the form that is compared; without options the letters alone."""
    options = row.get("options")
    if isinstance(options, Mapping) and {"label", "text"} <= set(options):  # ARC
        options = dict(zip(options["label"], options["text"], strict=False))
    if isinstance(options, Mapping):
        options = [f"{key}) {text}" for key, text in options.items()]
    if not isinstance(options, list | tuple) or not options:
        return dict.fromkeys(LETTERS, "")
    return dict(_labelled(tuple(map(str, options))))


@lru_cache(maxsize=1_000)
def _labelled(options: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    labels = [LABEL.match(option) for option in options]
    letters = [match[1].upper() if match else "" for match in labels]
    if all(letters) and len(set(letters)) == len(letters):
        texts = [option[match.end() :] for option, match in zip(options, labels, strict=True) if match]
    else:
        letters, texts = list(ascii_uppercase[: len(options)]), list(options)
    return tuple(zip(letters, (plain(text) or "" for text in texts), strict=False))
