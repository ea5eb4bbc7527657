"""Which part and shard a question is in."""

import hashlib
from typing import Any


def in_part(row: dict[str, Any], part: str) -> bool:
    """Whether a training question is in `part`, which may be `all`."""
    return part in ("all", row.get("part"))


def passed_over(generate: dict[str, Any], round_number: int) -> int:
    """How many questions of its part stand before those that a round (from 1) samples; `generate` is the config section."""
    earlier = (round_number - 1) * generate["n_samples"] if generate["new_questions"] else 0
    return int(generate["skip"]) + earlier


def shard_of(identity: str, count: int) -> int:
    """The shard of a question, by hash of its id: adding questions moves none between shards."""
    return int(hashlib.sha256(identity.encode()).hexdigest()[:8], 16) % count
