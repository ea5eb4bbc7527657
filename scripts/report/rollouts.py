"""Numbers of one round's rollouts: accuracy by arm and style, what coherence is worth, labels that look wrong."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

from scripts.regime_w.answers import equal
from scripts.regime_w.pairs import unanimous_not_gold
from scripts.regime_w.statistics import auc, majority, spearman
from scripts.report.evaluation import Settings, answer_format

TERMS = ("s_end", "s_path", "s_cf", "s_wm")
BINS = 10
SHOWN = 10


def summarise(rows: Iterable[dict[str, Any]], settings: Settings) -> dict[str, Any] | None:
    """All numbers of a round, None without a question. Reads each row once, so that a large file can be streamed."""
    questions = agreed = solvable = majority_right = 0
    per_question: Counter[int] = Counter()
    light: list[dict[str, Any]] = []
    suspects: list[dict[str, Any]] = []
    disagreements: list[dict[str, Any]] = []
    disagreeing = 0
    for row in rows:
        trajectories = row["trajectories"]
        right = sum(bool(item["correct"]) for item in trajectories)
        per_question[right] += 1
        solvable += right > 0
        majority_right += equal(majority([item["answer"] for item in trajectories]), row["gold_answer"])
        agreed += len({item["answer"] for item in trajectories}) == 1 and trajectories[0]["answer"] is not None
        if unanimous_not_gold(row):
            suspects.append(_suspect(row, trajectories[0]["answer"]))
        for item in trajectories:
            if item.get("disagreement"):
                disagreeing += 1
                if len(disagreements) < SHOWN:
                    disagreements.append(_suspect(row, item["answer"]) | {"arm": item.get("arm")})
            light.append(
                {key: value for key, value in item.items() if key not in ("full_text", "reasoning")} | {"q": questions}
            )
        questions += 1
    if not light:
        return None
    correct = [bool(item["correct"]) for item in light]
    return {
        "questions": questions,
        "trajectories": len(light),
        "accuracy": settings.mean(_per_question(light)),
        "majority": settings.mean([1] * majority_right + [0] * (questions - majority_right)),
        "any_correct": solvable / questions,
        "unanimous": agreed / questions,
        "correct_per_question": {str(count): per_question[count] for count in range(max(per_question) + 1)},
        "format": answer_format(light),
        "reward_mean": _average(light, "reward"),
        "arms": _groups(light, "arm", settings),
        "styles": _groups(light, "style", settings),
        "coherence": {term: _use(light, term, correct) for term in TERMS if all(term in item for item in light)},
        "calibration": _calibration(light),
        "label_suspects": {"count": len(suspects), "shown": suspects[:SHOWN]},
        "math_verify": {"disagreements": disagreeing, "shown": disagreements},
    }


def _suspect(row: dict[str, Any], answer: str | None) -> dict[str, Any]:
    return {"id": row.get("id"), "question": row["question"], "gold_answer": row["gold_answer"], "answer": answer}


def _groups(light: list[dict[str, Any]], key: str, settings: Settings) -> dict[str, Any]:
    """Numbers by arm or style; the interval is over questions, since trajectories of one question hang together."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for item in light:
        if item.get(key) is not None:
            groups.setdefault(str(item[key]), []).append(item)
    return {
        name: {
            "n": len(own),
            "style": own[0].get("style"),
            "temperature": own[0].get("temperature") if key == "arm" else None,
            "accuracy": settings.mean(_per_question(own)),
            "consistency": _average(own, "s_end"),
            "reward_mean": _average(own, "reward"),
            "format": answer_format(own),
        }
        for name, own in groups.items()
    }


def _per_question(items: list[dict[str, Any]]) -> list[float]:
    right: dict[int, list[bool]] = {}
    for item in items:
        right.setdefault(item["q"], []).append(bool(item["correct"]))
    return [sum(own) / len(own) for own in right.values()]


def _use(light: list[dict[str, Any]], term: str, correct: list[bool]) -> dict[str, Any]:
    """Whether a coherence term tells right from wrong, over all trajectories and inside questions, and follows length."""
    scores = [item[term] for item in light]
    inside, groups = [], dict[int, tuple[list[float], list[bool]]]()
    for item in light:
        own_scores, own_labels = groups.setdefault(item["q"], ([], []))
        own_scores.append(item[term])
        own_labels.append(bool(item["correct"]))
    for own_scores, own_labels in groups.values():
        if (area := auc(own_scores, own_labels)) is not None:
            inside.append(area)
    return {
        "mean": float(np.mean(scores)),
        "auc": auc(scores, correct),
        "auc_within": float(np.mean(inside)) if inside else None,
        "mixed_questions": len(inside),
        "length_correlation": spearman(scores, [item["num_tokens"] for item in light]),
    }


def _calibration(light: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Share correct by s_wm, in tenths."""
    bins: dict[int, list[bool]] = {}
    for item in light:
        if item.get("s_wm") is not None:
            bins.setdefault(min(int(item["s_wm"] * BINS), BINS - 1), []).append(bool(item["correct"]))
    return [
        {"low": index / BINS, "high": (index + 1) / BINS, "n": len(own), "accuracy": sum(own) / len(own)}
        for index, own in sorted(bins.items())
    ]


def _average(items: list[dict[str, Any]], key: str) -> float | None:
    values = [item[key] for item in items if item.get(key) is not None]
    return float(np.mean(values)) if values else None
