"""Numbers of votes at test time: majority of k, votes weighed by coherence, votes of samples whose sums hold; and collapse.

A policy collapses where it grows sure and wrong: the entropy of its answers falls while its accuracy does (the alarm).
"""

from typing import Any

from regime_w.method.votes import majority_right
from regime_w.method.weighted import answer_entropy, weighted_right
from regime_w.report.evaluation import Row, Settings, outcome
from regime_w.report.format import label, number, points


def votes(models: dict[str, list[Row]], settings: Settings) -> dict[str, Any]:
    """By model: the share right of each kind of vote, and the paired bootstrap of it against the plain majority.

    Samples must have `wrong_sum`, and `weight` for the votes by coherence (regime_w/report/inputs.py).
    """
    return {name: _of_model(rows, settings) for name, rows in models.items()}


def _of_model(rows: list[Row], settings: Settings) -> dict[str, Any]:
    plain = [majority_right(row["samples"], row["gold_answer"]) for row in rows]
    ways = {"sums": [[0.0 if out["wrong_sum"] else 1.0 for out in row["samples"]] for row in rows]}
    if all("weight" in out for out in rows[0]["samples"]):
        ways = {"coherence": [[out["weight"] for out in row["samples"]] for row in rows]} | ways
    found: dict[str, Any] = {"majority": settings.mean(plain)}
    for way, weights in ways.items():
        right = [
            weighted_right(row["samples"], own, row["gold_answer"]) for row, own in zip(rows, weights, strict=True)
        ]
        test = settings.difference(right, plain)
        found[way] = settings.mean(right) | {"against_majority": test | {"outcome": outcome(test, settings.alpha)}}
    return found | {"entropy": settings.mean(_entropies(rows))}


def collapses(models: dict[str, list[Row]], compared: list[Row], settings: Settings) -> list[dict[str, Any]]:
    """The comparisons in which the answers' entropy and the mean of k both fall significantly, with the fall of entropy."""
    found = []
    for c in compared:
        if c["mean"]["outcome"] != "worse":
            continue
        fall = settings.difference(_entropies(models[c["model"]]), _entropies(models[c["against"]]))
        if outcome(fall, settings.alpha) == "worse":
            found.append({"model": c["model"], "against": c["against"], "entropy": fall, "mean": c["mean"]})
    return found


def collapse_told(found: dict[str, Any]) -> str:
    """The alarm of one collapse, a sentence."""
    return (
        f"Collapse: {label(found['model'])} agrees with itself more than {label(found['against'])} and is right less often "
        f"(entropy of answers {number(found['entropy']['difference'])} nats, mean of samples "
        f"{points(found['mean']['difference'])} pp)."
    )


def _entropies(rows: list[Row]) -> list[float]:
    return [answer_entropy(row["samples"]) for row in rows]
