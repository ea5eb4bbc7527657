"""Labels: the answer that counts as right, for each trajectory of a question, where gold is missing, withheld or made wrong.

    labels_of("train-00017", outs, None, {"source": "vote", "min_agreement": 0.5, "filter": "none"})

Sources (config section `labels`):

    gold         the gold answer; with `noise`, that share of the questions gets another answer of the trajectories instead
    vote         the answer that most trajectories give (the vote of ScPO, Prasad et al. 2024, arXiv 2411.04109)
    cross_style  for a trajectory, the answer that most trajectories of the *other* styles give
    gold_share   gold for `share` of the questions, drawn by hash of the id; `rest` for the others (`drop`: no label)
    random       one of the distinct answers, drawn by hash of the id: the control

Who votes (`filter`): `none`, every answer that was found; `verifier_marked`, answers in a marked place of a text that ended
by itself (votes.py); `sums`, of these the ones whose written sums all hold (sums.py).

Where answers tie there is no label: the vote says nothing, and one that is drawn would be wrong half the time. (An
evaluation takes the expected value of a tie, since it must say something.) Nor is there one below `min_agreement`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from regime_w.method.draws import drawn, in_share
from regime_w.method.sums import holds
from regime_w.method.votes import majority, vote

GOLD: dict[str, Any] = {"source": "gold", "noise": 0.0}  # labels where nothing is said of them
NOTHING = "none"  # the source of a question that is to have no label
SLACK = 1e-9  # 0.3 of 10 is 3

Out = Mapping[str, Any]  # answer, extraction, finish_reason, style, full_text of a trajectory
Params = Mapping[str, Any]


class Label(NamedTuple):
    """What counts as right for one trajectory."""

    answer: str | None  # None: no label
    source: str  # gold, noise, vote, cross_style, random; none where a question is to have no label
    # Share in [0, 1] of the trajectories asked that give the most frequent answer; None for gold.
    agreement: float | None
    support: float  # share of them that give this trajectory's answer; for gold 1 or 0


def is_withheld(params: Params) -> bool:
    """Whether labels are not simply the gold answers: records then say where each label is from."""
    return bool(params["source"] != "gold" or params["noise"])


def source_of(identity: str, params: Params) -> str:
    """Where the label of a question is from: `gold`, `vote`, `cross_style`, `random`, or `none`."""
    if params["source"] != "gold_share":
        return str(params["source"])
    if in_share(f"gold share {params['seed']}", identity, params["share"]):
        return "gold"
    return NOTHING if params["rest"] == "drop" else str(params["rest"])


def labels_of(identity: str, outs: Sequence[Out], gold: str | None, params: Params) -> list[Label]:
    """The label of each trajectory of one question, in their order; `gold` is read where `source_of` says so alone.

    Equal answers are equal texts (tasks/verifiers.py). ValueError for gold labels without a gold answer.
    """
    source = source_of(identity, params)
    if source == NOTHING:
        return [Label(None, NOTHING, None, 0.0)] * len(outs)
    if source == "gold":
        return _by_gold(identity, outs, gold, params)
    ballots = [ballot(out, params["filter"]) for out in outs]
    if source == "random":
        return _at_random(identity, outs, ballots, params["seed"])
    if source == "vote":
        return [_elected(out, ballots, source, params["min_agreement"]) for out in outs]
    found = []
    for out in outs:
        others = [given for given, other in zip(ballots, outs, strict=True) if other["style"] != out["style"]]
        found.append(_elected(out, others, source, params["min_agreement"]))
    return found


def ballot(out: Out, which: str) -> str | None:
    """The answer of a trajectory that may vote; None for one that may not, or has none."""
    if which == "none":
        return out["answer"]
    answer = vote(out)
    return answer if which == "verifier_marked" or answer is None or holds(out["full_text"]) else None


def _elected(out: Out, ballots: Sequence[str | None], source: str, least: float) -> Label:
    """The label by majority: of all ballots, those that are None too, at least a share of `least`."""
    counts = Counter(given for given in ballots if given is not None)
    first = majority(ballots)
    agreement = counts[first[0]] / len(ballots) if first else 0.0
    elected = first[0] if len(first) == 1 and agreement >= least - SLACK else None
    return Label(elected, source, agreement, _share(out, counts, len(ballots)))


def _at_random(identity: str, outs: Sequence[Out], ballots: Sequence[str | None], seed: int) -> list[Label]:
    counts = Counter(given for given in ballots if given is not None)
    distinct = sorted(counts)
    if not distinct:
        return [Label(None, "random", 0.0, 0.0)] * len(outs)
    answer = distinct[drawn(f"random label {seed}:{identity}") % len(distinct)]
    agreement = counts[answer] / len(ballots)
    return [Label(answer, "random", agreement, _share(out, counts, len(ballots))) for out in outs]


def _by_gold(identity: str, outs: Sequence[Out], gold: str | None, params: Params) -> list[Label]:
    if gold is None:
        raise ValueError("a gold label needs a gold answer")
    answer, source = gold, "gold"
    if params["noise"] and in_share(f"label noise {params['seed']}", identity, params["noise"]):
        others = sorted({out["answer"] for out in outs} - {gold, None})
        if others:  # else nothing could be taken for right
            answer, source = others[drawn(f"noisy label {params['seed']}:{identity}") % len(others)], "noise"
    return [Label(answer, source, None, float(out["answer"] == answer)) for out in outs]


def _share(out: Out, counts: Mapping[str, int], asked: int) -> float:
    return counts.get(out["answer"], 0) / asked if out["answer"] is not None and asked else 0.0


def one_label(labels: Sequence[Label]) -> str | None:
    """The label that all trajectories of a question have, where there is one."""
    answers = {label.answer for label in labels}
    return answers.pop() if len(answers) == 1 else None


def least_agreement(labels: Sequence[Label]) -> float | None:
    """The smallest agreement among the trajectories' labels: a vote has one, styles one each, gold none."""
    return min((label.agreement for label in labels if label.agreement is not None), default=None)
