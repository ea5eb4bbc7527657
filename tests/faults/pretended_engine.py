"""Collect completions from an engine that answers at once, and dies, hangs or falls short as it is told.

    python tests/faults/pretended_engine.py JOURNAL_FOLDER MADE '{"n": 100, "fault": "hang", "after": 30}'

MADE gets the key of each completion as soon as `collect` has taken it, so that a completion made twice stands there twice.
"""

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from regime_w.models.manifests import HashedFolder, write_manifest
from regime_w.runtime.errors import UserError, run
from regime_w.sampling import collect
from regime_w.sampling.engines.interface import Completion, Request

ENGINE = {"name": "auto", "stall_timeout": 1, "random_lengths": None}
SAMPLING = {"top_p": 1.0, "max_new_tokens": 8, "stop": []}


class Engine:
    """`fault`: none, die, hang or fewer, after `after` completions; `pause` in seconds before each."""

    def __init__(self, made: Path, fault: str = "none", after: int = 0, pause: float = 0.0) -> None:
        self.fault, self.after, self.pause = fault, after, pause
        made.parent.mkdir(parents=True, exist_ok=True)
        self.made = os.open(made, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    @contextlib.contextmanager
    def open(self, *_: Any) -> Iterator["Engine"]:
        yield self

    def load(self, _: int) -> None:
        if self.fault == "hang at the start":
            time.sleep(600)

    def generate(self, requests: Sequence[Request]) -> Iterator[Completion]:
        for number, request in enumerate(requests):
            if self.fault != "none" and number == self.after:
                if self.fault == "die":
                    raise UserError("the engine died")
                if self.fault == "hang":
                    time.sleep(600)
                return
            time.sleep(self.pause)
            yield Completion(request.key, f"text of {request.key}", request.prompt_ids, "stop")
            os.write(self.made, f"{request.key}\n".encode())


def completions(journal: Path, made: Path, n: int = 20, version: str = "1", **settings: Any) -> list[Completion]:
    """Completions of `n` questions; `settings` are the engine's faults, and what differs of what is asked."""
    asked = {name: settings.pop(name, value) for name, value in ASKED.items()}
    engine = Engine(made, **settings)
    collect.open_engine = engine.open  # type: ignore[assignment]
    collect.choose = lambda *_: (asked["engine"], version)  # type: ignore[assignment]
    asks = [
        collect.Ask(f"q{number}", (asked["prompt"], number), asked["temperature"], asked["seed"] + number)
        for number in range(n)
    ]
    setup = collect.Setup(
        model=model_of(journal.parent / asked["model"]),
        sampling=SAMPLING | {"max_new_tokens": asked["max_new_tokens"], "top_p": asked["top_p"]},
        engine=ENGINE,
        gpus=0,
        seed=0,
        journal=journal,
        name="0-of-1",
        label="Collected",
        per_item=1,
    )
    with collect.start_engine(setup) as started:
        return collect.collect(asks, setup, started)


def model_of(folder: Path) -> HashedFolder:
    """A model folder that holds its own name."""
    if not folder.exists():
        folder.mkdir(parents=True)
        (folder / "weights").write_text(folder.name)
        (folder / "config.json").write_text("{}")
        write_manifest(folder, {})
    return HashedFolder(folder)


ASKED: dict[str, Any] = {
    "model": "model 1", "engine": "pretended", "prompt": 1, "temperature": 0.5, "seed": 0, "top_p": 1.0,
    "max_new_tokens": 8,
}  # fmt: skip


if __name__ == "__main__":
    run(lambda: print(len(completions(Path(sys.argv[1]), Path(sys.argv[2]), **json.loads(sys.argv[3])))))
