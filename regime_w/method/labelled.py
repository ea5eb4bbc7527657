"""How good labels without gold would be, held against gold: coverage and precision by the agreement that is asked for.

counts = Counter(); count_question(counts, record, right, ways, ...)    # of each question
table(counts, ways)                                                     # {way: [{"min_agreement", "coverage", ...}, ...]}

A way is a name and parameters of `labels_of` (labels.py). A label is counted once a question, cross_style's once a style.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from regime_w.method.labels import SLACK, Label, labels_of
from regime_w.method.pairs import build_pairs
from regime_w.method.statistics import wilson
from regime_w.method.votes import is_marked

THRESHOLDS = (0.0, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0)
_VOTE = {"source": "vote", "noise": 0.0, "min_agreement": 0.0, "filter": "none"}
WAYS: dict[str, dict[str, Any]] = {
    "vote": _VOTE,
    "vote, marked": _VOTE | {"filter": "verifier_marked"},
    "vote, sums hold": _VOTE | {"filter": "sums"},
    "cross_style": _VOTE | {"source": "cross_style"},
    "cross_style, sums hold": _VOTE | {"source": "cross_style", "filter": "sums"},
    "random": _VOTE | {"source": "random", "seed": 0},
}
OWN = "this run's"

Record = Mapping[str, Any]


def relabelled(record: Record, labels: Sequence[Label], alpha: float) -> dict[str, Any]:
    """A rollouts row as it would be by these labels; `alpha` is the reward of a correct answer."""
    trajectories = []
    for trajectory, label in zip(record["trajectories"], labels, strict=True):
        correct = (
            is_marked(trajectory)
            and trajectory["finish_reason"] == "stop"
            and trajectory["answer"] == label.answer is not None
        )
        reward = trajectory["reward"] + alpha * (correct - trajectory["correct"])
        trajectories.append({**trajectory, "label": label.answer, "correct": correct, "reward": reward})
    return {**record, "label_source": labels[0].source, "trajectories": trajectories}


def own_labels(record: Record) -> list[Label]:
    """The labels that a rollouts row has already."""
    return [
        Label(each.get("label", record["label"]), record["label_source"], record["agreement"], each["support"])
        for each in record["trajectories"]
    ]


def count_question(
    counts: Counter[tuple[Any, ...]],
    record: Record,
    right: Sequence[bool],
    correct: Sequence[bool],
    params: Record,
    alpha: float,
    seed: int,
) -> None:
    """Count a rollouts row's labels and pairs by way and threshold.

    By gold, of each trajectory: `right`, its answer wherever it stands; `correct`, in a marked place of a text that ended too.
    `params` is the config section `pairs`: right are the correctness pairs that gold would make, correct over not.
    """
    outs = record["trajectories"]
    ways = {name: labels_of(record["id"], outs, None, way) for name, way in WAYS.items()}
    ways |= {OWN: own_labels(record)} if "label_source" in record else {}
    is_right = {out["answer"] for out, by_gold in zip(outs, right, strict=True) if by_gold}
    by_arm = {out["arm"]: by_gold for out, by_gold in zip(outs, correct, strict=True)}
    styles = {out["style"]: place for place, out in enumerate(outs)}
    settings = {**params, "coherence_share": 0.0, "calculations": 0}
    for name, labels in ways.items():
        places = list(styles.values()) if labels[0].source == "cross_style" else [0]
        pairs, _ = build_pairs(relabelled(record, labels, alpha), settings, seed)
        agreement = dict(zip(by_arm, (_agreement(label) for label in labels), strict=True))
        for least in THRESHOLDS:
            counts[name, least, "asked"] += len(places)
            given = [labels[place].answer for place in places if _agreement(labels[place]) >= least - SLACK]
            given = [answer for answer in given if answer is not None]
            counts[name, least, "given"] += len(given)
            counts[name, least, "right"] += sum(answer in is_right for answer in given)
            made = [pair for pair in pairs if agreement[pair["chosen_arm"]] >= least - SLACK]
            counts[name, least, "pairs"] += len(made)
            counts[name, least, "right pairs"] += sum(
                by_arm[pair["chosen_arm"]] and not by_arm[pair["rejected_arm"]] for pair in made
            )


def table(counts: Mapping[tuple[Any, ...], int], level: float = 0.95) -> dict[str, list[dict[str, Any]]]:
    """Rows by way: of the labels asked for the share given (coverage), of these the share right (precision), with Wilson's
    interval; the pairs made and the share of them that gold agrees with. None where there is nothing to share."""
    found: dict[str, list[dict[str, Any]]] = {}
    for name in dict.fromkeys(key[0] for key in counts):
        for least in THRESHOLDS:
            asked, given, right, pairs, right_pairs = (
                counts[name, least, what] for what in ("asked", "given", "right", "pairs", "right pairs")
            )
            low, high = wilson(right, given, level)
            found.setdefault(name, []).append(
                {
                    "min_agreement": least,
                    "labels": given,
                    "coverage": given / asked if asked else None,
                    "precision": right / given if given else None,
                    "low": low,
                    "high": high,
                    "pairs": pairs,
                    "pair_precision": right_pairs / pairs if pairs else None,
                }
            )
    return found


def _agreement(label: Label) -> float:
    return 1.0 if label.agreement is None else label.agreement  # gold is sure of itself
