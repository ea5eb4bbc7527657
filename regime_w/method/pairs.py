"""Preference pairs of one question: correct over wrong, more over less coherent among the correct, and a sum put right
over the wrong sum that a trajectory wrote.

Where the reward takes the verifier's score (`reward.correct: score`), a correctness pair is a higher over a lower score.

A candidate is any pair of the first two kinds (of one style, where `same_style` holds). It is dropped for the first
reason that applies:

    truncated       a side did not end by itself; with `truncated: reject` the chosen side alone counts
    tie             equal rewards
    identical       equal texts
    near_identical  texts more alike than max_similarity (rapidfuzz ratio, 0 to 1)
    margin          rewards closer than min_margin, or the wrong way round
    length_ratio    the longer side has more than max_length_ratio times the tokens of the shorter
    over_cap        the policy takes no more pairs of this question
    coherence_share coherence pairs beyond their share of all pairs (over_coherence_share)
    max_pairs       pairs beyond the number of all that are wanted (over_total, draws.py), calculation pairs among them

A candidate's sides are held against the same label (labels.py); without one a trajectory is in none.

Policies: `all`; `best_worst`, the correctness pair with the largest margin (else such a coherence pair); `capped`, at
most per_question pairs: correctness pairs first, those of one style first, each trajectory as seldom as can be, and
for the first half of the places the most alike texts of what is left: the hard ones.

With `weight: margin` a pair has a `weight` in the loss: the share of votes of the chosen answer less that of the rejected one,
as ScPO has it (Prasad et al. 2024, arXiv 2411.04109, section 3.3); where gold made the label 1. A pair that no vote chose
between, of coherence or a calculation, has none and counts as the mean (regime_w/training/preferences.py).

A calculation pair has both sides from one trajectory, which needs no correct answer beside it: the text up to its first
wrong sum, with the right result and with the written one. The preference is at the step that went wrong, as in Step-DPO
(Lai et al. 2024, arXiv 2406.18629), and a calculator says which it is. Up to `calculations` a question, none for a sum
that the question has already.
"""

import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

from rapidfuzz import fuzz

from regime_w.method.sums import first_slip

REASONS = (
    "truncated", "tie", "identical", "near_identical", "margin", "length_ratio", "over_cap", "coherence_share", "max_pairs",
)  # fmt: skip

CALCULATION = "calculation"
# A calculation pair goes on behind its result up to here: that tells where the number ends, and holds no other.
BREAK = re.compile(r"[0-9]|(?<=\n)")
MAX_COMPARED = 20_000  # characters of a text whose similarity is measured: that takes time with their square

Record = Mapping[str, Any]


class Candidate(NamedTuple):
    """Indices of both trajectories in their question, and what pairs are chosen by."""

    chosen: int
    rejected: int
    pair_type: str
    margin: float
    similarity: float
    cross_style: bool


def build_pairs(record: Record, params: Record, seed: int) -> tuple[list[dict[str, Any]], Counter[str]]:
    """The pairs of one rollouts row, without their prompt, and how many candidates were dropped by reason.

    `params` is the config section `pairs`. The choice depends on (seed, question id) and nothing else.
    """
    trajectories = record["trajectories"]
    judged = list(judge(record, params, seed))
    pairs = [
        _pair(record, c.pair_type, trajectories[c.chosen], trajectories[c.rejected], round(c.similarity, 4))
        for c, reason in judged
        if reason is None
    ]
    dropped = Counter(reason for _, reason in judged if reason is not None)
    pairs += calculation_pairs(record, params["calculations"], seed)
    if params.get("weight") == "margin":
        support = {trajectory["arm"]: trajectory["support"] for trajectory in trajectories}
        for pair in pairs:
            margin = support[pair["chosen_arm"]] - support[pair["rejected_arm"]]
            pair["weight"] = margin if pair["pair_type"] == "correctness" else None
    return pairs, dropped


def judge(record: Record, params: Record, seed: int) -> Iterator[tuple[Candidate, str | None]]:
    """Every candidate of one rollouts row with the reason it is dropped for, None where it is kept: those first, in their order."""
    trajectories = record["trajectories"]
    usable, objections = list[Candidate](), list[tuple[Candidate, str]]()
    for chosen, rejected, pair_type in _candidates(record, params):
        sides = trajectories[chosen], trajectories[rejected]
        similarity = similarity_of(sides[0]["full_text"], sides[1]["full_text"])
        cross_style = sides[0]["style"] != sides[1]["style"]
        candidate = Candidate(chosen, rejected, pair_type, _margin(*sides), similarity, cross_style)
        if reason := _objection(*sides, similarity, params):
            objections.append((candidate, reason))
        else:
            usable.append(candidate)
    kept = _select(usable, params, random.Random(f"{seed}:{record['id']}"))
    yield from ((candidate, None) for candidate in kept)
    yield from objections
    yield from ((candidate, "over_cap") for candidate in usable if candidate not in kept)


def calculation_pairs(record: Record, most: int, seed: int) -> list[dict[str, Any]]:
    """Up to `most` pairs of a sum put right and as it was written, each from another trajectory that ended by itself."""
    if not most:
        return []
    trajectories = [trajectory for trajectory in record["trajectories"] if ends(trajectory)]
    random.Random(f"{seed}:{record['id']}:{CALCULATION}").shuffle(trajectories)
    made: list[dict[str, Any]] = []
    seen: set[str] = set()
    for trajectory in trajectories:
        text = trajectory["full_text"]
        if len(made) == most or (slip := first_slip(text)) is None:
            continue
        line = text[text.rfind("\n", 0, slip.start) + 1 : slip.end]
        if line in seen:
            continue
        seen.add(line)
        behind = BREAK.split(text[slip.end :], maxsplit=1)[0]
        part = {**trajectory, "reward": None, "num_tokens": None, "token_ids": None}  # tokens span the break
        chosen = part | {"full_text": text[: slip.start] + slip.right + behind}
        rejected = part | {"full_text": text[: slip.end] + behind}
        made.append(_pair(record, CALCULATION, chosen, rejected, None))
    return made


def similarity_of(text: str, other: str) -> float:
    """How alike two texts begin (rapidfuzz ratio, 0 to 1)."""
    return fuzz.ratio(text[:MAX_COMPARED], other[:MAX_COMPARED]) / 100


def rank_coherence(pairs: Sequence[Mapping[str, Any]]) -> list[tuple[int, float, int]]:
    """(rank, negative margin, index) of the coherence pairs among one question's pairs: who goes first when they are capped."""
    coherent = [(index, pair) for index, pair in enumerate(pairs) if pair["pair_type"] == "coherence"]
    return [
        (rank, pair["rejected_reward"] - pair["chosen_reward"], index) for rank, (index, pair) in enumerate(coherent)
    ]


def over_coherence_share(ranked: Sequence[tuple[int, float, int]], others: int, share: float) -> set[int]:
    """Indices of the coherence pairs that must go so that at most `share` of all pairs are such, beside `others` others.

    Every question's first coherence pair goes before any second one, larger margins first.
    """
    allowed = len(ranked) if share >= 1 else int(share * others / (1 - share) + 1e-9)
    return {index for *_, index in sorted(ranked)[allowed:]}


def no_pair_reason(record: Record, params: Record) -> str:
    """Why a question has no pair: `no_label`, `all_correct`, `all_wrong`, or `filtered` (its candidates were dropped)."""
    trajectories = record["trajectories"]
    if not any(has_label(record, trajectory) for trajectory in trajectories):
        return "no_label"
    if len({quality(trajectory, params) for trajectory in trajectories}) > 1:
        return "filtered"
    return "all_correct" if trajectories[0]["correct"] else "all_wrong"


def quality(trajectory: Record, params: Record) -> float:
    """What a correctness pair is made by: right or wrong, or the verifier's score (`reward.correct`)."""
    if params.get("by") == "score" and "score" in trajectory:
        return float(trajectory["score"])
    return float(trajectory["correct"])


def label_of(record: Record, trajectory: Record) -> Any:
    """What a trajectory was held against, where that is not simply the gold answer (labels.py)."""
    return trajectory.get("label", record.get("label"))


def has_label(record: Record, trajectory: Record) -> bool:
    return "label_source" not in record or label_of(record, trajectory) is not None


def _candidates(record: Record, params: Record) -> Iterator[tuple[int, int, str]]:
    """Chosen index, rejected index and type of every candidate."""
    trajectories = record["trajectories"]
    for i, j in combinations(range(len(trajectories)), 2):
        a, b = trajectories[i], trajectories[j]
        if params["same_style"] and a["style"] != b["style"]:
            continue
        if not has_label(record, a) or label_of(record, a) != label_of(record, b):
            continue
        if (one := quality(a, params)) != (other := quality(b, params)):
            yield (i, j, "correctness") if one > other else (j, i, "correctness")
        elif a["correct"] and params["coherence_share"] > 0:
            yield (i, j, "coherence") if a["reward"] >= b["reward"] else (j, i, "coherence")


def _objection(chosen: Record, rejected: Record, similarity: float, params: Record) -> str | None:
    """The first reason to drop a candidate, or None."""
    margin = _margin(chosen, rejected)
    shorter, longer = sorted((chosen["num_tokens"], rejected["num_tokens"]))
    reasons = {
        "truncated": not ends(chosen) or (not ends(rejected) and params["truncated"] == "drop"),
        "tie": margin == 0,
        "identical": chosen["full_text"] == rejected["full_text"],
        "near_identical": similarity > params["max_similarity"],
        "margin": margin < params["min_margin"],
        "length_ratio": longer > params["max_length_ratio"] * max(shorter, 1),
    }
    return next((reason for reason, applies in reasons.items() if applies), None)


def ends(trajectory: Record) -> bool:
    """Whether it ended by itself, and was not cut off."""
    return bool(trajectory["finish_reason"] == "stop")


def _margin(chosen: Record, rejected: Record) -> float:
    return round(chosen["reward"] - rejected["reward"], 9)  # 1.05 - 1 is to be 0.05


def _select(usable: list[Candidate], params: Record, rng: random.Random) -> list[Candidate]:
    correctness = [candidate for candidate in usable if candidate.pair_type == "correctness"]
    coherence = [candidate for candidate in usable if candidate.pair_type == "coherence"]
    if params["policy"] == "all":
        return correctness + coherence
    if params["policy"] == "best_worst":
        return [max(correctness or coherence, key=lambda candidate: candidate.margin)] if usable else []
    places, used = params["per_question"], Counter[int]()
    rng.shuffle(correctness)
    kept = _spread(correctness, places, used, hardest=(places + 1) // 2)
    # The most alike texts among correct ones differ in wording alone: there the clearest margin goes first.
    coherence.sort(key=lambda candidate: -candidate.margin)
    return kept + _spread(coherence, places - len(kept), used, hardest=0)


def _spread(pool: list[Candidate], places: int, used: Counter[int], hardest: int) -> list[Candidate]:
    """Take pairs one by one, of one style and of seldom used trajectories first; `hardest` of them by similarity.

    Otherwise the pool's order decides. Counts the trajectories in `used`.
    """
    left, kept = list(pool), list[Candidate]()
    while left and len(kept) < places:
        by_similarity = len(kept) < hardest
        best = min(
            left,
            key=lambda c: (c.cross_style, used[c.chosen] + used[c.rejected], -c.similarity if by_similarity else 0.0),
        )
        left.remove(best)
        kept.append(best)
        used.update((best.chosen, best.rejected))
    return kept


def _pair(record: Record, pair_type: str, chosen: Record, rejected: Record, similarity: float | None) -> dict[str, Any]:
    return {
        "chosen": chosen["full_text"],
        "rejected": rejected["full_text"],
        "chosen_ids": chosen.get("token_ids"),
        "rejected_ids": rejected.get("token_ids"),
        "rejected_ends": pair_type != CALCULATION and ends(rejected),
        "id": record["id"],
        "pair_type": pair_type,
        "chosen_reward": chosen["reward"],
        "rejected_reward": rejected["reward"],
        "chosen_arm": chosen["arm"],
        "rejected_arm": rejected["arm"],
        "chosen_tokens": chosen["num_tokens"],
        "rejected_tokens": rejected["num_tokens"],
        "similarity": similarity,
        "style": chosen["style"],
    }
