"""Samples of one question to fine-tune on: its unique correct trajectories.

correct     trajectories that are correct, ended by themselves and have a marked answer (`correct` says all of it)
identical   left out: the same text as one taken
alike       left out: more alike than max_similarity to one taken (rapidfuzz ratio, 0 to 1)
over_cap    left out: the question has per_question already
max_samples left out: beyond the number of all that are wanted (over_total, draws.py)
"""

import random
from collections import Counter
from collections.abc import Mapping
from typing import Any

from regime_w.method.pairs import similarity_of

REASONS = ("identical", "alike", "over_cap", "max_samples")


def build_samples(
    record: Mapping[str, Any], params: Mapping[str, Any], seed: int
) -> tuple[list[dict[str, Any]], Counter[str]]:
    """The samples of one rollouts row, without their prompt, and how many correct trajectories were left out by reason.

    `params` is the config section `rejection_sampling`. The choice depends on (seed, question id) and nothing else.
    """
    correct = [trajectory for trajectory in record["trajectories"] if trajectory["correct"]]
    random.Random(f"{seed}:{record['id']}").shuffle(correct)
    taken: list[dict[str, Any]] = []
    dropped: Counter[str] = Counter()
    for trajectory in correct:
        likeness = max((similarity_of(trajectory["full_text"], other["full_text"]) for other in taken), default=0.0)
        if any(trajectory["full_text"] == other["full_text"] for other in taken):
            dropped["identical"] += 1
        elif likeness > params["max_similarity"]:
            dropped["alike"] += 1
        elif len(taken) == params["per_question"]:
            dropped["over_cap"] += 1
        else:
            taken.append(trajectory)
    samples = [
        {
            "completion": trajectory["full_text"],
            "completion_ids": trajectory.get("token_ids"),
            "id": record["id"],
            "arm": trajectory["arm"],
            "style": trajectory["style"],
            "tokens": trajectory["num_tokens"],
        }
        for trajectory in taken
    ]
    return samples, dropped
