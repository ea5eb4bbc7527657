"""What every verifier is: how an answer is found, read and compared, and what is said of a text (verifiers.py opens one)."""

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from regime_w.method.votes import UNMARKED
from regime_w.tasks.marks import Extraction, Method, cut

Row = Mapping[str, Any]


class Grade(NamedTuple):
    """What a verifier says of one text. `correct`: right, and in a marked place; whether the text ended is not its matter."""

    answer: str | None
    correct: bool
    score: float  # in [0, 1]
    method: Method  # how the answer was found
    span: str  # the raw text it was read from
    reasoning: str  # the text before the answer's mark
    fault: str | None = None  # why the verifier could not tell (judge.py)


class Verifier:
    """One kind of answer. `name` as in the config; an instance may own a process, which `close` ends."""

    name = ""
    slow = False  # asks another process: several are worth it
    scores = False  # gives scores between 0 and 1 too

    def gold(self, raw: Any, row: Row | None = None) -> str | None:
        """A gold answer as it stands in the data (text or number), canonical; None where it cannot be read."""
        text = as_text(raw)
        return self.read(text, row or {}) if text else None

    def gold_in(self, solution: str, row: Row | None = None) -> str | None:
        """The gold answer that a worked solution states in a marked place; None where there is none."""
        found, _ = self.find(solution, row or {})  # whole: `Question 2:` in it begins no next question
        return None if found.method in UNMARKED else self.gold(found.answer, row)

    def grade(self, text: str, gold: str | None, row: Row | None = None) -> Grade:
        """Find the answer of a completion and hold it against the gold answer; without one nothing is correct."""
        found, reasoning = self.find(cut(text), row or {})
        same, fault = self.same(gold, found.answer)
        correct = same and found.method not in UNMARKED
        return Grade(found.answer, correct, float(correct), found.method, found.span, reasoning, fault)

    def grade_all(self, texts: Sequence[str], gold: str | None, row: Row | None = None) -> list[Grade]:
        """`grade` of each text of one question, equal answers as one text: the gold one's, else that of the first."""
        return [self.grade(text, gold, row) for text in texts]

    def equal(self, a: str | None, b: str | None) -> bool:
        """Whether two answers, as `gold` and `grade` give them, are the same; None equals nothing."""
        return self.same(a, b)[0]

    def same(self, a: str | None, b: str | None) -> tuple[bool, str | None]:
        """`equal`, and the fault where it cannot be told."""
        return a is not None and a == b, None

    def read(self, text: str, row: Row) -> str | None:
        """The one answer that a text states, canonical, or None."""
        raise NotImplementedError

    def find(self, text: str, row: Row) -> tuple[Extraction, str]:
        """The answer of a text that is cut already, and the text before its mark."""
        raise NotImplementedError

    def check(self) -> None:
        """UserError where the verifier cannot work, before there is anything to grade."""

    def close(self) -> None:
        """End what the verifier has started."""


def as_text(raw: Any) -> str:
    """A text or number of a data set as text, 1e-05 as 0.00001; empty for anything else."""
    if isinstance(raw, str):
        return raw.strip()
    if isinstance(raw, bool) or not isinstance(raw, int | float) or not math.isfinite(raw):
        return ""
    return format(Decimal(repr(raw)), "f")
