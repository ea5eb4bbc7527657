"""Verifiers: whether an answer is right, and which answers of one question are the same.

    verifier = open_verifier({"verifier": "number", "timeout": 10})
    gold = verifier.gold("1,080", row)                 # "1080"; None: this verifier cannot read it
    verifier.gold_in("... = 1,080\\n#### 1,080", row)   # "1080": what a worked solution ends in
    verifier.grade("... so\\n#### 1080", gold, row)    # Grade(answer="1080", correct=True, score=1.0, method="hash", ...)
    verifier.grade_all(texts, gold, row)               # of one question: what is equal has one text, the gold's where it is that
    verifier.equal("1080", "1,080.0")                  # True

    number   one number (answers.py)
    latex    a mathematical expression, compared by math-verify (latex.py)
    choice   a letter; `row["options"]` holds the texts that it stands for (choice.py)
    exact    a text, compared without regard to case, spacing and the marks around it (exact.py)
    path/to/file.py:function   the user's own grade(text, gold, row) -> {"answer", "correct", "score"} (function.py)

`row` is the question's record. Answers in records are those of `grade_all`: two of one question are equal just where their
texts are, so that votes, coherence and the report need no verifier (method/votes.py).
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

from regime_w.runtime.errors import UserError
from regime_w.tasks.answers import answer_and_reasoning, equal, gold_from_rationale, normalise
from regime_w.tasks.choice import Choice
from regime_w.tasks.exact import Exact
from regime_w.tasks.function import Function
from regime_w.tasks.latex import Latex, require
from regime_w.tasks.marks import Extraction
from regime_w.tasks.verifier import Grade, Row, Verifier

Asked = tuple[Sequence[str], str | None, Row]  # the texts of a question, its gold answer, its record


class Number(Verifier):
    name = "number"

    def gold_in(self, solution: str, row: Row | None = None) -> str | None:
        return normalise(gold_from_rationale(solution)) or super().gold_in(solution, row)

    def same(self, a: str | None, b: str | None) -> tuple[bool, str | None]:
        return equal(a, b), None

    def read(self, text: str, row: Row) -> str | None:
        return normalise(text)

    def find(self, text: str, row: Row) -> tuple[Extraction, str]:
        return answer_and_reasoning(text)


def open_verifier(task: Mapping[str, Any]) -> Verifier:
    """The verifier that the config section `task` names, one a process; UserError where there is no such one."""
    return _opened(task["verifier"], float(task["timeout"]))


@lru_cache
def _opened(name: str, timeout: float) -> Verifier:
    return new_verifier(name, timeout)


def new_verifier(name: str, timeout: float) -> Verifier:
    """A verifier of one's own, which must be closed."""
    plain: dict[str, Callable[[], Verifier]] = {"number": Number, "choice": Choice, "exact": Exact}
    if name in plain:
        return plain[name]()
    if name == "latex":
        require()
        return Latex(timeout)
    if ".py:" in name:
        return Function(name, timeout)
    raise UserError(f"task.verifier: {name!r} is none of {', '.join(plain)}, latex, nor path/to/file.py:function")


def grade_questions(task: Mapping[str, Any], questions: Iterable[Asked], workers: int) -> Iterator[list[Grade]]:
    """`grade_all` of each question, in their order, by several processes side by side where grading is done in such."""
    verifier = open_verifier(task)
    if not verifier.slow or workers <= 1:
        yield from (verifier.grade_all(*asked) for asked in questions)
        return
    own, opened = threading.local(), list[Verifier]()

    def grade(asked: Asked) -> list[Grade]:
        if not hasattr(own, "verifier"):
            own.verifier = new_verifier(task["verifier"], float(task["timeout"]))
            opened.append(own.verifier)
        grades: list[Grade] = own.verifier.grade_all(*asked)
        return grades

    try:
        with ThreadPoolExecutor(workers) as pool:
            yield from pool.map(grade, questions)
    finally:
        for each in opened:
            each.close()


def refuse_if_all_failed(faults: int, answers: int, first: str) -> None:
    """UserError where a verifier could tell of no answer at all: it is at fault, not the answers."""
    if faults and faults == answers:
        raise UserError(f"task.verifier failed on all {answers} answers, first {first}; mend it, or raise task.timeout")
