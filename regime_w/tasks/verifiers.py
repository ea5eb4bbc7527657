"""Verifiers: whether an answer is right, and which answers of one question are the same.

    verifier = open_verifier({"verifier": "number", "timeout": 10})
    gold = verifier.gold("1,080", row)                 # "1080"; None: this verifier cannot read it
    verifier.grade("... so\\n#### 1080", gold, row)    # Grade(answer="1080", correct=True, score=1.0, method="hash", ...)
    verifier.grade_all(texts, gold, row)               # of one question: what is equal has one text, the gold's where it is that
    verifier.equal("1080", "1,080.0")                  # True

    number   one number, see answers.py
    latex    a mathematical expression, compared by math-verify
    choice   a letter; `row["options"]` holds the texts that it stands for
    exact    a text, compared without regard to case, spacing and the marks around it
    path/to/file.py:function   the user's own grade(text, gold, row) -> {"answer", "correct", "score"}

Answers in records are those of `grade_all`: two of one question are equal just where their texts are, so that votes,
coherence and the report need no verifier.
"""

import json
import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from regime_w.runtime.errors import UserError
from regime_w.tasks.answers import (
    Extraction,
    Method,
    answer_and_reasoning,
    cut,
    extract,
    gold_from_rationale,
    normalise,
)

Row = Mapping[str, Any]
UNMARKED = ("fallback", "none")


class Grade(NamedTuple):
    """What a verifier says of one text. `correct`: right, and in a marked place; whether the text ended is not its matter."""

    answer: str | None
    correct: bool
    score: float  # in [0, 1]
    method: Method  # how the answer was found
    span: str  # the raw text it was read from
    reasoning: str  # the text before the answer's mark
    fault: str | None = None  # why the verifier could not tell, see judge.py


class Verifier:
    """One kind of answer. Subclasses say how it is found (`find`), read (`read`) and compared (`equal`)."""

    name = ""

    def gold(self, raw: Any, row: Row | None = None) -> str | None:
        """A gold answer as it stands in the data (text or number), canonical; None where it cannot be read."""
        text = as_text(raw)
        return self.read(text, row or {}) if text else None

    def gold_in(self, solution: str, row: Row | None = None) -> str | None:
        """The gold answer that a worked solution ends in, in a marked place; None where there is none."""
        found, _ = self.find(solution, row or {})
        return None if found.method in UNMARKED else found.answer

    def grade(self, text: str, gold: str | None, row: Row | None = None) -> Grade:
        """Find the answer of a completion and hold it against the gold answer; without one nothing is correct."""
        found, reasoning = self.find(cut(text), row or {})
        correct = found.method not in UNMARKED and self.equal(gold, found.answer)
        return Grade(found.answer, correct, float(correct), found.method, found.span, reasoning)

    def grade_all(self, texts: Sequence[str], gold: str | None, row: Row | None = None) -> list[Grade]:
        """`grade` of each text of one question."""
        return [self.grade(text, gold, row) for text in texts]

    def equal(self, a: str | None, b: str | None) -> bool:
        """Whether two answers, as `gold` and `grade` give them, are the same; None equals nothing."""
        return a is not None and a == b

    def read(self, text: str, row: Row) -> str | None:
        """The one answer that a text states, canonical, or None."""
        raise NotImplementedError

    def find(self, text: str, row: Row) -> tuple[Extraction, str]:
        """The answer of a text that is cut already, and the text before its mark."""
        raise NotImplementedError


class Number(Verifier):
    name = "number"

    def gold_in(self, solution: str, row: Row | None = None) -> str | None:
        return normalise(gold_from_rationale(solution)) or super().gold_in(solution, row)

    def equal(self, a: str | None, b: str | None) -> bool:
        return (
            a is not None
            and b is not None
            and (a == b or ((number := normalise(a)) is not None and number == normalise(b)))
        )

    def read(self, text: str, row: Row) -> str | None:
        return normalise(text)

    def find(self, text: str, row: Row) -> tuple[Extraction, str]:
        return answer_and_reasoning(text)


class Text(Verifier):
    name = "exact"

    def read(self, text: str, row: Row) -> str | None:
        return " ".join(text.split()).casefold() or None

    def find(self, text: str, row: Row) -> tuple[Extraction, str]:
        return answer_and_reasoning(text)


class Function(Verifier):
    def gold(self, raw: Any, row: Row | None = None) -> str | None:
        """The text as it is; anything else as JSON, for the function to read."""
        return raw if isinstance(raw, str) else None if raw is None else json.dumps(raw, ensure_ascii=False)

    def find(self, text: str, row: Row) -> tuple[Extraction, str]:
        return extract(text), text


VERIFIERS: dict[str, type[Verifier]] = {"number": Number, "latex": Text, "choice": Text, "exact": Text}


def open_verifier(task: Mapping[str, Any]) -> Verifier:
    """The verifier that the config section `task` names; UserError where there is no such one."""
    name = task["verifier"]
    if name in VERIFIERS:
        return VERIFIERS[name]()
    if ".py:" in name:
        return Function()
    raise UserError(f"task.verifier: {name!r} is none of {', '.join(VERIFIERS)}, nor path/to/file.py:function")


def as_text(raw: Any) -> str:
    """A text or number of a data set as text, 145.0 as 145.0 and 1e-05 as 0.00001; empty for anything else."""
    if isinstance(raw, str):
        return raw.strip()
    if isinstance(raw, bool) or not isinstance(raw, int | float) or not math.isfinite(raw):
        return ""
    return format(Decimal(repr(raw)), "f")
