"""Token ids to train on, of a pair or sample: as they were sampled where the record has them, from its texts otherwise."""

from typing import Any

from regime_w.method.pairs import CALCULATION
from regime_w.runtime.errors import UserError
from regime_w.tasks.prompts import Prompts


def ids_of(prompts: Prompts, row: dict[str, Any], side: str) -> tuple[list[int], list[int]]:
    """Ids of a record's prompt and of its `side` (chosen, rejected or completion).

    A record of ours has its question and the style that it is asked in; the prompt is made from them as it was for
    sampling, and UserError where it is another text. A side that breaks off (`is_ended`) gets no end.
    """
    where = f"question {row.get('id', '?')}"
    if "question" not in row or "prompt_style" not in row:
        return prompts.foreign(row["prompt"], row[side])
    prompt = prompts.ask(row["question"], row["prompt_style"])
    if prompt.text != row["prompt"]:
        raise UserError(
            f"{where}: its prompt was made by another `prompt` or `styles`; build it again from the rollouts"
        )
    ids = row.get(f"{side}_ids")
    if ids is None:
        tokens = prompts.example if is_ended(row, side) else prompts.begun
        return tokens(row["question"], row["prompt_style"], row[side])
    if not isinstance(ids, list) or not ids or any(type(each) is not int for each in ids):
        raise UserError(f"{where}: {side}_ids are no token ids; build it again from the rollouts")
    return list(prompt.ids), ids


def is_ended(row: dict[str, Any], side: str) -> bool:
    """Whether an end belongs behind the side: not in a calculation pair, nor behind a rejected text that was cut off."""
    if row.get("pair_type") == CALCULATION:
        return False
    return side != "rejected" or bool(row.get("rejected_ends", True))
