"""Numbers of one round's rollouts: accuracy by arm and style, what coherence is worth, labels that look wrong."""

from array import array
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regime_w.method.statistics import auc, auc_of_groups, spearman
from regime_w.method.votes import fault_kind, majority_right, unanimous, unanimous_not_gold
from regime_w.report.evaluation import Settings, answer_format, format_of

TERMS = ("s_end", "s_path", "s_cf", "s_wm")
BINS = 10
SHOWN = 10

Numbers = NDArray[Any]


class Trajectories:
    """What is counted of each trajectory, 50 bytes instead of the record's thousands. Missing: NaN, or group -1."""

    def __init__(self) -> None:
        self.question, self.tokens = array("i"), array("i")
        self.correct, self.format = array("b"), array("B")
        self.scores = {name: array("d") for name in ("reward", *TERMS)}
        self.groups = {name: array("i") for name in ("arm", "style")}
        self.names: dict[str, dict[str, int]] = {name: {} for name in self.groups}
        self.first: dict[tuple[str, int], dict[str, Any]] = {}  # style and temperature of each group's first trajectory

    def add(self, question: int, item: dict[str, Any]) -> None:
        self.question.append(question)
        self.tokens.append(item["num_tokens"])
        self.correct.append(bool(item["correct"]))
        self.format.append(format_of(item))
        for name, column in self.scores.items():
            value = item.get(name)
            column.append(np.nan if value is None else value)
        for kind, groups in self.groups.items():
            group = -1
            if item.get(kind) is not None:
                names = self.names[kind]
                group = names.setdefault(str(item[kind]), len(names))
                if (kind, group) not in self.first:
                    self.first[kind, group] = {name: item.get(name) for name in ("style", "temperature")}
            groups.append(group)


def summarise(rows: Iterable[dict[str, Any]], settings: Settings) -> dict[str, Any] | None:
    """All numbers of a round, None without a question. Reads each row once, so that a large file can be streamed."""
    questions = agreed = solvable = suspicious = disagreeing = 0
    majorities = array("d")
    faults: Counter[str] = Counter()
    per_question: Counter[int] = Counter()
    found = Trajectories()
    suspects: list[dict[str, Any]] = []
    disagreements: list[dict[str, Any]] = []
    faulty: list[dict[str, Any]] = []
    for row in rows:
        trajectories = row["trajectories"]
        right = sum(bool(item["correct"]) for item in trajectories)
        per_question[right] += 1
        solvable += right > 0
        majorities.append(majority_right(trajectories, row["gold_answer"]))
        agreed += unanimous(trajectories) is not None
        if unanimous_not_gold(row):
            suspicious += 1
            if len(suspects) < SHOWN:
                suspects.append(_suspect(row, trajectories[0]["answer"]))
        for item in trajectories:
            if item.get("disagreement"):
                disagreeing += 1
                if len(disagreements) < SHOWN:
                    disagreements.append(_suspect(row, item["answer"]) | {"arm": item.get("arm")})
            if item.get("fault"):
                faults[fault_kind(item["fault"])] += 1
                if len(faulty) < SHOWN:
                    faulty.append(_suspect(row, item["fault"]) | {"arm": item.get("arm")})
            found.add(questions, item)
        questions += 1
    if not found.tokens:
        return None
    question, correct, tokens, form = (
        np.asarray(column) for column in (found.question, found.correct, found.tokens, found.format)
    )
    scores = {name: np.asarray(column) for name, column in found.scores.items()}
    return {
        "questions": questions,
        "trajectories": len(correct),
        "accuracy": settings.mean(_per_question(question, correct)),
        "majority": settings.mean(majorities),
        "any_correct": solvable / questions,
        "unanimous": agreed / questions,
        "correct_per_question": {str(count): per_question[count] for count in range(max(per_question) + 1)},
        "format": answer_format(form, tokens, correct),
        "reward_mean": _average(scores["reward"]),
        "arms": _groups(found, "arm", scores, settings),
        "styles": _groups(found, "style", scores, settings),
        "coherence": {
            term: _use(scores[term], question, correct, tokens) for term in TERMS if not np.isnan(scores[term]).any()
        },
        "calibration": _calibration(scores["s_wm"], correct),
        "label_suspects": {"count": suspicious, "shown": suspects},
        "math_verify": {"disagreements": disagreeing, "shown": disagreements},
        "faults": {"count": faults.total(), "kinds": dict(faults.most_common()), "shown": faulty},
    }


def _suspect(row: dict[str, Any], answer: str | None) -> dict[str, Any]:
    return {"id": row.get("id"), "question": row["question"], "gold_answer": row["gold_answer"], "answer": answer}


def _groups(found: Trajectories, kind: str, scores: dict[str, Numbers], settings: Settings) -> dict[str, Any]:
    """Numbers by arm or style; the interval is over questions, since trajectories of one question hang together."""
    groups = np.asarray(found.groups[kind])
    summaries = {}
    for name, group in found.names[kind].items():
        own = groups == group
        question, correct, tokens, form = (
            np.asarray(column)[own] for column in (found.question, found.correct, found.tokens, found.format)
        )
        summaries[name] = {
            "n": len(correct),
            "style": found.first[kind, group]["style"],
            "temperature": found.first[kind, group]["temperature"] if kind == "arm" else None,
            "accuracy": settings.mean(_per_question(question, correct)),
            "consistency": _average(scores["s_end"][own]),
            "reward_mean": _average(scores["reward"][own]),
            "format": answer_format(form, tokens, correct),
        }
    return summaries


def _per_question(question: Numbers, correct: Numbers) -> Numbers:
    """Share correct of each question that has a trajectory."""
    total, right = np.bincount(question), np.bincount(question, correct)
    return right[total > 0] / total[total > 0]


def _use(scores: Numbers, question: Numbers, correct: Numbers, tokens: Numbers) -> dict[str, Any]:
    """Whether a coherence term tells right from wrong, over all trajectories and inside questions, and follows length."""
    inside = auc_of_groups(scores, correct, question)
    return {
        "mean": float(np.mean(scores)),
        "auc": auc(scores, correct),
        "auc_within": float(np.mean(inside)) if len(inside) else None,
        "mixed_questions": len(inside),
        "length_correlation": spearman(scores, tokens),
    }


def _calibration(scores: Numbers, correct: Numbers) -> list[dict[str, Any]]:
    """Share correct by s_wm, in tenths."""
    known = ~np.isnan(scores)
    bins = np.minimum((scores[known] * BINS).astype(int), BINS - 1)
    total, right = np.bincount(bins, minlength=BINS), np.bincount(bins, correct[known], minlength=BINS)
    return [
        {
            "low": index / BINS,
            "high": (index + 1) / BINS,
            "n": int(total[index]),
            "accuracy": float(right[index] / total[index]),
        }
        for index in range(BINS)
        if total[index]
    ]


def _average(values: Numbers) -> float | None:
    values = values[~np.isnan(values)]
    return float(np.mean(values)) if len(values) else None
