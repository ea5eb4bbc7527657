"""Training questions from several sources in one list, of which every beginning holds the sources alike."""

import math
from typing import Any

from regime_w.questions.rows import Loaded, load
from regime_w.runtime.errors import UserError
from regime_w.tasks.verifiers import Verifier


def load_all(
    where: str, sources: list[dict[str, Any]], verifier: Verifier, without_gold: bool = False
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The records of all sources, mixed, and what is told of each source."""
    if len(sources) == 1:
        records, told = load(where, sources[0], verifier, without_gold=without_gold)
        return records, [told]
    loaded = [
        load(f"{where}.{place}", source, verifier, f"train{place + 1}", without_gold)
        for place, source in enumerate(sources)
    ]
    mixed = mix([own.records for own in loaded], [source.get("weight") for source in sources])
    require_ids(mixed, where)
    return mixed, told_of(loaded, mixed)


def mix(lists: list[list[Any]], weights: list[float | None]) -> list[Any]:
    """The lists' items, evenly spread. By weights, as many as can be in that proportion, else all."""
    if any(weights):
        known = [weight or 0.0 for weight in weights]
        most = min(len(own) / weight for own, weight in zip(lists, known, strict=True) if weight)
        lists = [own[: math.floor(most * weight + 1e-9)] for own, weight in zip(lists, known, strict=True)]
    places = [
        ((number + 0.5) / len(own), index, number) for index, own in enumerate(lists) for number in range(len(own))
    ]
    return [lists[index][number] for _, index, number in sorted(places)]


def require_ids(records: list[dict[str, Any]], where: str) -> None:
    """UserError where two sources have a question of the same id."""
    seen = set[str]()
    for record in records:
        if record["id"] in seen:
            raise UserError(
                f"{where}: two sources have the id {record['id']!r:.80}; give each source a `name`, which begins its ids"
            )
        seen.add(record["id"])


def told_of(loaded: list[Loaded], mixed: list[dict[str, Any]]) -> list[dict[str, Any]]:
    taken = {record["id"] for record in mixed}
    return [own.told | {"taken": sum(record["id"] in taken for record in own.records)} for own in loaded]
