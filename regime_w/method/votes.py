"""Votes among the answers to one question, as records hold them: equal answers are equal texts (tasks/verifiers.py).

An answer counts where it stands in a marked place of a text that ended by itself: one without a mark is a guess of ours, and
a truncated text had not come to its end. Where several answers have the most votes, what is expected of the majority is the
mean over them: which of them came first says nothing.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

UNMARKED = ("fallback", "none")

Out = Mapping[str, Any]  # a trajectory, or an answer of an evaluation


def is_marked(out: Out) -> bool:
    return out["extraction"] not in UNMARKED


def vote(out: Out) -> str | None:
    """The answer, where it counts."""
    return out["answer"] if is_marked(out) and out["finish_reason"] == "stop" else None


def is_right(out: Out, gold: str | None) -> bool:
    """Whether the answer is right wherever it stands, in a truncated text too: `flexible`.

    A user's function says so of a finished text alone, unless its answer is the gold one's text.
    """
    return bool(out["correct"]) or (out["answer"] is not None and out["answer"] == gold)


def fault_kind(fault: str) -> str:
    """`timeout` of "timeout: no answer in 10 s"."""
    return fault.partition(":")[0]


def majority(answers: Iterable[str | None]) -> list[str]:
    """The most frequent answers, several where they tie, in the order they came; none where nobody answers."""
    given = Counter(answer for answer in answers if answer is not None)
    most = max(given.values(), default=0)
    return [answer for answer, count in given.items() if count == most]


def majority_right(outs: Sequence[Out], gold: str | None) -> float:
    """The chance that the majority's answer is right, one of those that tie being drawn."""
    first = majority(map(vote, outs))
    right = {vote(out) for out in outs if is_right(out, gold)}
    return sum(answer in right for answer in first) / len(first) if first else 0.0


def unanimous(outs: Sequence[Out]) -> str | None:
    """The answer that all give, where there is one."""
    answers = {vote(out) for out in outs}
    return answers.pop() if len(answers) == 1 else None


def unanimous_not_gold(record: Mapping[str, Any]) -> bool:
    """Whether all trajectories give the same answer and it is not the gold one: the gold answer may be wrong.

    Such a question makes no pair, since nothing in it is correct. False where gold is not known.
    """
    outs = record["trajectories"]
    if record["gold_answer"] is None:
        return False
    return unanimous(outs) is not None and not any(is_right(out, record["gold_answer"]) for out in outs)
