"""The one hash that draws: which part, shard, style or label a question gets depends on a key alone, not on other questions."""

import hashlib
from collections import Counter
from collections.abc import Hashable, Sequence


def drawn(key: str) -> int:
    """A number below 2**32 that depends on the key alone."""
    return int(hashlib.sha256(key.encode()).hexdigest()[:8], 16)


def in_share(what: str, identity: str, fraction: float) -> bool:
    """Whether a question is in this share of all; another `what` is another draw."""
    return drawn(f"{what}:{identity}") / 2**32 < fraction


def turn(seed: int, identity: str) -> int:
    """A question's draw for `over_total`: the same for pairs and for samples, so that both keep the same questions."""
    return drawn(f"over_total:{seed}:{identity}")


def over_total(examples: Sequence[tuple[Hashable, int]], most: int | None) -> set[int]:
    """Indices of the examples that must go so that at most `most` are left; none where that is None.

    `examples`: question and draw of each. Every question's first goes before any second one, lower draws first: a draw by
    question and seed takes the same questions, as far as they have examples, of any other file of examples.
    """
    if most is None:
        return set()
    seen = Counter[Hashable]()
    order = []
    for index, (question, draw) in enumerate(examples):
        order.append((seen[question], draw, index))
        seen[question] += 1
    return {index for *_, index in sorted(order)[most:]}
