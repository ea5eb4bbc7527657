"""Sums to practise, like those that rationales write out, with other numbers: a small model gets many of these wrong.

    exercises(["... so 48/2 = 24 in May.\\n#### 24", ...], 1000, seed=0)
    # [("Work out 36/2, $7 + $4.50 and ...", "36/2 = 18\\n$7 + $4.50 = $11.50\\n...\\n#### 11.50"), ...]

As Goat (Liu & Low 2023, arXiv 2305.14201) practises arithmetic on its own before it is needed inside a problem.
"""

import random
import re
from collections.abc import Iterable
from fractions import Fraction
from itertools import accumulate
from typing import NamedTuple

from regime_w.method.arithmetic import NUMBER, evaluate, exact, has_cents, shown, value_of
from regime_w.method.sums import is_clear, tree_of, written_sums
from regime_w.questions.variants import TRIES, alike, draw, step_of
from regime_w.runtime.errors import UserError

A_ROW = 8
KEPT = (0, 1, 100)  # `1 - 1/4`, `60/100`
BETWEEN = re.compile(r"( ?= ?)(\$?)")


class Sum(NamedTuple):
    """A written sum: its left side and what that comes to, what stands between the sides, whether the result has a `$`."""

    left: str
    value: Fraction
    between: str
    dollars: bool


def exercises(texts: Iterable[str], count: int, seed: int) -> list[tuple[str, str]]:
    """`count` questions and answers of up to A_ROW sums; long sums, which go wrong most, come up in proportion to their length.

    UserError where the texts write no sums out.
    """
    if not count:
        return []
    found = [own for text in texts for own in right_sums(text)]
    if not found:
        raise UserError("sft.sum_exercises: no rationale writes a sum out, such as 48/2 = 24; set it to 0")
    weights = list(accumulate(len(own.left) for own in found))
    made = []
    for number in range(count):
        rng = random.Random(f"{seed}:sums:{number}")
        drawn: dict[str, str] = {}
        for own in rng.choices(found, cum_weights=weights, k=TRIES):
            if (changed := vary(own, rng)) is not None:
                drawn.setdefault(*changed)
            if len(drawn) == A_ROW:
                break
        if not drawn:
            continue
        *asked, last = drawn
        question = f"Work out {', '.join(asked)} and {last}." if asked else f"Work out {last}."
        label = drawn[last].rpartition("=")[2].strip(" $")
        made.append((question, "\n".join((*drawn.values(), f"#### {label}"))))
    return made


def right_sums(text: str) -> list[Sum]:
    """The right sums of a text that can be read in one way only."""
    found = []
    for own in written_sums(text):
        between = BETWEEN.fullmatch(text[own.start + len(own.left) : own.at])
        if between and own.usual and exact(own.value) and own.value == own.stated and is_clear(own.left):
            found.append(Sum(own.left, own.value, between[1], bool(between[2])))
    return found


def vary(own: Sum, rng: random.Random) -> tuple[str, str] | None:
    """A left side with other numbers of like size, and the whole sum; None where the result would be of another kind, or the
    sum not be read as it is meant."""

    def other(match: re.Match[str]) -> str:
        old = value_of(match[0])
        step = step_of(old)
        if old in KEPT or step is None:
            return match[0]
        return shown(draw(old, step, False, rng), has_cents(match[0]))

    left = re.sub(NUMBER, other, own.left)
    tree = tree_of(left)
    if tree is None or not alike(own.value, value := evaluate(tree, {})):
        return None
    whole = f"{left}{own.between}{'$' if own.dollars else ''}{shown(value, cents=own.dollars)}"
    read = [(found.left, found.stated) for found in written_sums(whole)]
    return (left, whole) if read == [(left, value)] else None
