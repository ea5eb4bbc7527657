"""Votes with weights among the samples of one question: each by its coherence, or those alone whose written sums hold.

What a vote is, and that ties count by expectation: votes.py. Where no weight is above 0 all votes count alike, so that a
vote says something wherever the plain majority does.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from regime_w.method.coherence import coherence
from regime_w.method.votes import Out, is_right, majority_right, vote

SLACK = 1e-9  # sums of floats that differ by less tie


def weighted_right(outs: Sequence[Out], weights: Sequence[float], gold: str | None) -> float:
    """The chance that the answer with the most weight is right, one of those that tie being drawn; in [0, 1]."""
    totals: dict[str, float] = {}
    for out, weight in zip(outs, weights, strict=True):
        if (answer := vote(out)) is not None:
            totals[answer] = totals.get(answer, 0.0) + weight
    most = max(totals.values(), default=0.0)
    if most <= SLACK:
        return majority_right(outs, gold)
    first = [answer for answer, total in totals.items() if total >= most - SLACK]
    right = {vote(out) for out in outs if is_right(out, gold)}
    return sum(answer in right for answer in first) / len(first)


def coherence_weights(outs: Sequence[Out], settings: Mapping[str, Any]) -> list[float]:
    """s_wm of each sample among those of its question, by the config section `coherence`; `text` is what it reasons.

    Samples of a question are of one style, so that s_cf is 0 for all. 1 each where there is one answer, or none: then
    weights decide nothing, and similarities take time.
    """
    answers = [vote(out) for out in outs]
    if len({answer for answer in answers if answer is not None}) < 2:
        return [1.0] * len(outs)
    texts = [str(out["text"]) for out in outs]
    each = coherence(answers, texts, [""] * len(outs), settings, settings["path_mix"])
    return [own.s_wm for own in each]


def answer_entropy(outs: Sequence[Out]) -> float:
    """Entropy of the answers to one question, in nats; no answer is one of them. 0 where all are the same."""
    counts = Counter(map(vote, outs))
    shares = (count / len(outs) for count in counts.values())
    return abs(sum(share * math.log(share) for share in shares))
