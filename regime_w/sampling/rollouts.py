"""What a round asks: its questions, one request an arm each, and how they are answered."""

from itertools import islice
from pathlib import Path
from typing import Any

from regime_w.models.manifests import HashedFolder
from regime_w.questions.parts import shard_of
from regime_w.runtime.records import iter_jsonl
from regime_w.sampling.collect import Ask, Setup, seed_of
from regime_w.sampling.engines.interface import Completion
from regime_w.tasks.prompts import Prompts


def rollout_setup(model: HashedFolder, params: dict[str, Any], gpus: int, journal: Path, name: str) -> Setup:
    generate = params["generate"]
    return Setup(
        model=model,
        # A policy that was fine-tuned ends its answers itself: no stop texts, so no detokenisation in the engine.
        sampling={"top_p": generate["top_p"], "max_new_tokens": generate["max_new_tokens"], "stop": []},
        engine=params["engine"],
        gpus=gpus,
        seed=params["seed"],
        journal=journal,
        name=name,
        label="Collected",
        per_item=len(params["arms"]),
    )


def select(path: Path, shard: str, first: int | None = None) -> list[dict[str, Any]]:
    """The shard's share of the questions of a file, or of the `first` of them."""
    index, count = (int(number) for number in shard.split("-of-"))
    rows = islice(iter_jsonl(path, required=("id", "question")), first)
    return [row for row in rows if shard_of(row["id"], count) == index]


def make_asks(
    questions: list[dict[str, Any]], params: dict[str, Any], round_number: int, prompts: Prompts
) -> list[Ask]:
    """One ask an arm and question; arms of one style stand side by side and share the prompt's cached prefix."""
    asks = []
    for question in questions:
        ids: dict[str, tuple[int, ...]] = {}
        for arm in params["arms"]:
            if arm["style"] not in ids:
                ids[arm["style"]] = prompts.ask(question["question"], arm["style"]).ids
            seed = seed_of(params["seed"], question["id"], arm["name"], round_number)
            asks.append(Ask(question["id"], ids[arm["style"]], arm["temperature"], seed))
    return asks


def answered(completion: Completion, style: str, prompts: Prompts) -> dict[str, Any]:
    """A completion as records have it, but its ids. Behind `answer_start` characters of thought its text answers."""
    thinking = prompts.thinking(style, completion.token_ids, completion.text)
    return {
        "text": completion.text,
        "num_tokens": completion.num_tokens,
        "thinking_tokens": thinking.tokens,
        "answer_start": thinking.end,
        "finish_reason": completion.finish_reason,
    }
