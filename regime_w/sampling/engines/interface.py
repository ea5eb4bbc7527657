"""What an engine is: a name, a version, and a generator of completions in any order.

To add an engine, write a module with an `Engine` and name it in `open_engine` of open.py.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from regime_w.runtime.errors import UserError


@dataclass(frozen=True)
class Request:
    """One completion asked for; `temperature` 0 is greedy. `seed` is the request's own (31 bits)."""

    key: str
    prompt_ids: tuple[int, ...]
    temperature: float
    top_p: float
    max_new_tokens: int
    seed: int
    stop: tuple[str, ...] = ()


@dataclass(frozen=True)
class Completion:
    """A finished request: text without special tokens, tokens generated (EOS included), `stop` or `length`."""

    key: str
    text: str
    num_tokens: int
    finish_reason: str


class CannotSwitch(UserError):
    """The engine cannot take another model's weights; it is of no use any more."""


class Engine(Protocol):
    """What an engine needs to import, it may begin to import when it is opened; `load` makes it ready."""

    def load(self, max_model_len: int) -> None:
        """Load the model; no request is longer than `max_model_len` tokens, its completion included."""

    def switch(self, model: Path) -> None:
        """Answer with another model from now on, one that is `alike` (regime_w/models/folders.py); before `load`: load that one.

        CannotSwitch where its weights cannot take the place of those that are loaded.
        """

    def generate(self, requests: Sequence[Request]) -> Iterator[Completion]: ...
