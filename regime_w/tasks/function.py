"""A user's own verifier: a function of a Python file, `path/to/file.py:name`, in a process of its own (judge.py).

    def name(text, gold, row):
        # text: the completion up to its end; gold: the question's gold answer as text (JSON where it is no text), or None;
        # row: the question's record
        return {"answer": "18", "correct": True, "score": 0.9}    # score may be left out: 1 where correct, else 0

`answer` is what votes and coherence compare, as text; None has no vote. A raised exception, an answer later than
`task.timeout` seconds, a process that ends and a wrong return are faults: that text has no answer and is not correct.
"""

import json
from typing import Any

from regime_w.tasks.judge import Judge
from regime_w.tasks.marks import Method, cut
from regime_w.tasks.verifier import Grade, Row, Verifier


class Function(Verifier):
    slow = True
    scores = True

    def __init__(self, name: str, timeout: float) -> None:
        self.name = name
        self.judge = Judge(name, timeout)

    def gold(self, raw: Any, row: Row | None = None) -> str | None:
        if isinstance(raw, str):
            return raw or None
        return None if raw is None else json.dumps(raw, ensure_ascii=False)

    def gold_in(self, solution: str, row: Row | None = None) -> str | None:
        """The solution as it is: only the function knows what of it is the answer."""
        return solution or None

    def grade(self, text: str, gold: str | None, row: Row | None = None) -> Grade:
        text = cut(text)
        value, fault = self.judge.ask({"text": text, "gold": gold, "row": dict(row or {})})
        if fault:
            return Grade(None, False, 0.0, "none", "", text.strip(), fault)
        answer, correct = value["answer"], value["correct"]
        method: Method = "none" if answer is None and not correct else "function"
        return Grade(answer, correct, value["score"], method, "", text.strip())

    def check(self) -> None:
        self.judge.check()

    def close(self) -> None:
        self.judge.close()
