"""Answers that are texts, `exact`: what stands behind the last mark, compared as a whole.

    verifier.grade("It is the capital.\\nAnswer: **Paris**.", "paris", {})    # answer="paris", correct=True

Two are the same without regard to case (Unicode case folding), to the width and form of characters (NFKC), to spacing (any
run of blanks is one space) and to what surrounds them: quotation marks, brackets, `*`, `_`, `$` and punctuation at either end,
`\\text{}`. All else counts: `1,000` is not `1000`. The last mark goes first; a `####` that the text goes on behind
may be a heading and comes after all others. Without a mark the sentence's `the answer is X` is a `fallback`.
"""

import re
import unicodedata

from regime_w.tasks.marks import Extraction, before, last_marks, last_match
from regime_w.tasks.verifier import Row, Verifier

LONGEST = 1_000  # characters of an answer; a longer one is none
AROUND = " *_`$\"'“”‘’«»「」()[]{}.,;:!?¡¿。，；：！？、"
TEXT = re.compile(r"\\(?:(?:text|math)(?:bf|rm|it|sf|tt|normal)?|mbox|operatorname) ?\{([^{}]*)\}")
ANSWER_IS = re.compile(r"\banswer (?:is|was|would be|will be|should be)[\s:*_]{1,8}(?=\S)", re.IGNORECASE)
SENTENCE_END = re.compile(r"[.!?](?=\s|$)|\n")


class Exact(Verifier):
    name = "exact"

    def read(self, text: str, row: Row) -> str | None:
        return plain(text)

    def find(self, text: str, row: Row) -> tuple[Extraction, str]:
        for method, (start, span) in last_marks(text):
            if (answer := plain(span)) is not None:
                return Extraction(answer, method, span.strip()), before(text, start)
        if (said := last_match(ANSWER_IS, text)) and (answer := plain(first_sentence(text, said.end()))) is not None:
            return Extraction(answer, "fallback", answer), before(text, len(text))
        return Extraction(None, "none", ""), before(text, len(text))


def plain(span: str) -> str | None:
    """A text in the form that is compared, which is its own; None for an empty or very long one."""
    if len(span) > LONGEST:
        return None
    text = TEXT.sub(r" \1 ", span)
    for _ in range(3):  # folding may bring forth what normal form changes again
        text = " ".join(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).split()).strip(
            AROUND
        )
    return text if 0 < len(text) <= LONGEST else None


def first_sentence(text: str, start: int) -> str:
    end = SENTENCE_END.search(text, start)
    return text[start : end.start() if end else len(text)][: LONGEST + 1]
