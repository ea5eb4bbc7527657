"""Which part, shard and style a question is in: by hash of its id, so that adding questions moves none of the others.

The part `heldout` is for ranking a study's recipes; of the other training questions a share is in `rollouts`, the rest
in `sft`. What SFT and each round take of them is decided here too (`take`), once: the stages read their own file.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from regime_w.method.draws import drawn
from regime_w.runtime.errors import UserError

PARTS = ("sft", "rollouts")


def shard_of(identity: str, count: int) -> int:
    return drawn(identity) % count


def style_of(identity: str, styles: Sequence[str]) -> str:
    """The style in which a question is evaluated."""
    return styles[drawn(identity) % len(styles)]


def take(rows: Iterable[dict[str, Any]], params: dict[str, Any], path: object) -> list[dict[str, Any]]:
    """The training questions that SFT (`use: sft`) or a round (`use: rollouts`) takes: of `part`, the first `n` after `skip`.

    SFT takes rows with a rationale, several of one text; a round asks each text once. UserError where there are too few.
    """
    own = [row for row in rows if params["part"] in ("all", row.get("part"))]
    if params["use"] == "sft":
        key, chosen = "sft.n_examples", [row for row in own if row.get("answer")]
    else:
        key, chosen = "generate.n_samples", [row for row in own if "same_text_as" not in row]
    first, wanted = params["skip"], params["n"]
    there = len(chosen)
    if there < first + (wanted or 1):
        after = f" after the first {first}" if first else ""
        kind = " with a rationale" if params["use"] == "sft" and there < len(own) else ""
        raise UserError(
            f"{key} asks for {wanted or 'some'} questions{after}, {path} has {there}{kind} of part {params['part']}; "
            "lower it or ask for another part"
        )
    return chosen[first : first + wanted if wanted else None]
