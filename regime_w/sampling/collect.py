"""Collect completions for a list of requests: what the journal has is kept, the rest is generated and journalled.

Shared by generate and evaluate.
"""

import logging
import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

from regime_w.models.folders import positions, trusted
from regime_w.models.manifests import HashedFolder
from regime_w.runtime.errors import UserError, say
from regime_w.runtime.progress import Progress
from regime_w.runtime.records import fingerprint, write_json
from regime_w.sampling import journal
from regime_w.sampling.engines.interface import Completion, Engine, Request
from regime_w.sampling.engines.open import choose, open_engine
from regime_w.tasks.prompts import Prompts, prompts_of

log = logging.getLogger(__name__)

LONGEST_LOOK_SECONDS = 2.0

Observer = Callable[[Completion | None], None]


@dataclass(frozen=True)
class Ask:
    """A completion wanted: whose question it answers, the prompt's ids, and how to sample it."""

    id: str
    prompt_ids: tuple[int, ...]
    temperature: float
    seed: int


@dataclass(frozen=True)
class Setup:
    """Who answers a job's requests, how they are sampled, and where the answers are kept."""

    model: HashedFolder
    sampling: dict[str, Any]  # top_p, max_new_tokens and stop
    engine: dict[str, Any]  # the config section
    gpus: int
    seed: int
    journal: Path  # folder, which other jobs write to as well
    name: str  # this job's file in it
    label: str  # for the log
    per_item: int  # completions of one question, for the log


@dataclass
class Started:
    """An engine that was opened, and is loaded when the first request is there. It can go on to other models."""

    name: str
    version: str
    engine: Engine
    watchdog: "_Watchdog"
    at: float  # time.monotonic()
    model: HashedFolder
    loaded: bool = False


def seed_of(*parts: object) -> int:
    """A request's own seed: 31 bits of the SHA-256 of (base seed, question id, arm or sample, round)."""
    return int(fingerprint(list(parts))[:8], 16) & 0x7FFFFFFF


def length_of(key: str, lengths: dict[str, float], most: int) -> int:
    """A request's own number of new tokens, 1 to `most`: log-normal with this mean and sigma, drawn by its key."""
    uniform = (int(fingerprint([key, "length"])[:13], 16) + 0.5) / 16**13
    normal = NormalDist(math.log(lengths["mean"]) - lengths["sigma"] ** 2 / 2, lengths["sigma"])
    return min(most, max(1, round(math.exp(normal.inv_cdf(uniform)))))


@contextmanager
def start_engine(setup: Setup) -> Iterator[Started]:
    """Open the engine for `collect`; its processes import what they need while the caller makes its asks."""
    name, version = choose(setup.engine["name"], setup.gpus)
    at = time.monotonic()
    with (
        _Watchdog(setup.engine["stall_timeout"]) as watchdog,  # the first: engines also hang while they start or end
        open_engine(name, setup.model.folder, setup.engine, setup.gpus, setup.seed) as engine,
    ):
        yield Started(name, version, engine, watchdog, at, setup.model)


def load_prompts(setup: Setup, params: dict[str, Any]) -> Prompts:
    """The model's prompts. Importing transformers takes seconds, best spent while an engine starts."""
    with setup.model.suspected():
        return prompts_of(setup.model.folder, params, trusted(setup.engine))


def collect(
    asks: Sequence[Ask],
    setup: Setup,
    started: Started,
    stop_ids: Sequence[int] = (),
    observe: Observer = lambda _: None,
) -> list[Completion]:
    """Completions in the order of `asks`; the engine goes on to the setup's model where it has another.

    `stop_ids` end a completion, beside what the model itself ends at. `observe` is called with None once the engine is
    ready, then with each completion made. CannotSwitch as in Engine.
    """
    sampling, lengths = setup.sampling, setup.engine["random_lengths"]
    identity = [setup.model.fingerprint, sampling, stop_ids, started.name, started.version]
    if lengths:
        identity.append(lengths)
    keys = [
        fingerprint([*identity, ask.prompt_ids, ask.temperature, ask.seed if ask.temperature > 0 else None])
        for ask in asks
    ]
    done = journal.load(setup.journal, keys, setup.name)
    requests = list(
        {
            key: Request(
                key,
                ask.prompt_ids,
                ask.temperature,
                sampling["top_p"],
                length_of(key, lengths, sampling["max_new_tokens"]) if lengths else sampling["max_new_tokens"],
                ask.seed,
                tuple(sampling["stop"]),
                tuple(stop_ids),
            )
            for key, ask in zip(keys, asks, strict=True)
            if key not in done
        }.values()
    )
    log.info(
        f"{len(asks)} trajectories asked for, {len(asks) - len(requests)} kept from the journal, {len(requests)} to make"
    )
    if requests:
        longest = longest_of(asks, setup, started.name)
        with setup.model.suspected():
            made = _generate(requests, longest, setup, started, observe)
        if lost := [request.key for request in requests if request.key not in made]:
            raise UserError(
                f"the engine returned {len(lost)} of {len(requests)} trajectories too few; run again to make them"
            )
        done |= made
    else:
        setup.model.verify()
    return [done[key] for key in keys]


def longest_of(asks: Sequence[Ask], setup: Setup, engine: str) -> int:
    """Tokens of the longest request, its completion included. UserError where the model has no positions for it."""
    ask, new = max(asks, key=lambda ask: len(ask.prompt_ids)), setup.sampling["max_new_tokens"]
    longest, what, most = len(ask.prompt_ids) + new, "the model has positions", positions(setup.model.folder)
    if engine == "vllm" and (set_to := setup.engine["vllm"]["max_model_len"]):
        what, most = "engine.vllm.max_model_len allows", min(set_to, most or set_to)
    if most is not None and longest > most:
        raise UserError(
            f"question {ask.id}: its prompt of {len(ask.prompt_ids)} tokens and {new} new ones are {longest}, {what} for "
            f"{most}; take that question out, or lower max_new_tokens"
        )
    return longest


def _generate(
    requests: list[Request], longest: int, setup: Setup, started: Started, observe: Observer
) -> dict[str, Completion]:
    label = setup.label
    made: dict[str, Completion] = {}
    log.info(f"Initializing {started.name} engine ({setup.gpus or 'no'} GPU) with {setup.model.folder} ...")
    with journal.Writer(setup.journal, setup.name) as writer:
        _ready(started, setup.model, longest)
        setup.model.verify()
        ready = time.monotonic() - started.at
        log.info(f"{started.name} engine ready after {ready:.1f} s")
        started.watchdog.feed()
        observe(None)
        progress = Progress(len(requests), label, log_every=20 * setup.per_item)
        for completion in started.engine.generate(requests):
            made[completion.key] = completion
            writer.append(completion)
            progress.update(1, completion.num_tokens)
            observe(completion)
            started.watchdog.feed()
        seconds = progress.close()
    tokens = sum(completion.num_tokens for completion in made.values())
    timing = {"engine": started.name, "start_seconds": ready, "seconds": seconds, "made": len(made), "tokens": tokens}
    write_json(setup.journal / f"{setup.name}.timing.json", timing)
    log.info(
        f"{label}: {len(made)} trajectories, {tokens} tokens in {seconds:.1f} s = {tokens / max(seconds, 1e-9):,.0f} tokens/s; "
        f"engine start {ready:.1f} s"
    )
    return made


def _ready(started: Started, model: HashedFolder, longest: int) -> None:
    """Have the engine loaded, for requests of at most `longest` tokens, and with this model."""
    if started.loaded:
        started.at = time.monotonic()
        started.watchdog.feed()
    if started.model is not model:
        started.engine.switch(model.folder)
        started.model = model
    if not started.loaded:
        started.engine.load(longest)
        started.loaded = True


class _Watchdog:
    """Ends the process when no trajectory finishes for `seconds`: a hung engine cannot be interrupted otherwise."""

    def __init__(self, seconds: int) -> None:
        self.seconds, self.waited, self.stop = seconds, 0.0, threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def feed(self) -> None:
        self.waited = 0.0

    def _watch(self) -> None:
        looked = time.monotonic()
        while not self.stop.wait(1.0):
            now = time.monotonic()
            # A job that was suspended, or on a machine that slept, did not hang meanwhile.
            self.waited += min(now - looked, LONGEST_LOOK_SECONDS)
            looked = now
            if self.waited > self.seconds:
                say(
                    f"error: no trajectory finished for {self.seconds} s (engine.stall_timeout); the engine hangs. "
                    "What is finished is kept: run again"
                )
                os._exit(2)

    def __enter__(self) -> "_Watchdog":
        self.feed()
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join()
