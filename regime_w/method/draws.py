"""The one hash that draws: which part, shard, style or label a question gets depends on a key alone, not on other questions."""

import hashlib


def drawn(key: str) -> int:
    """A number below 2**32 that depends on the key alone."""
    return int(hashlib.sha256(key.encode()).hexdigest()[:8], 16)


def in_share(what: str, identity: str, fraction: float) -> bool:
    """Whether a question is in this share of all; another `what` is another draw."""
    return drawn(f"{what}:{identity}") / 2**32 < fraction
