"""What an engine is: a name, a version, and a generator of completions in any order.

To add an engine, write a module with an `Engine` and name it in `open_engine` of open.py.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from regime_w.runtime.errors import UserError


@dataclass(frozen=True)
class Request:
    """One completion asked for; `temperature` 0 is greedy. `seed` is the request's own (31 bits).

    It ends at a text of `stop`, at an id of `stop_ids`, and at the model's own EOS ids.
    """

    key: str
    prompt_ids: tuple[int, ...]
    temperature: float
    top_p: float
    max_new_tokens: int
    seed: int
    stop: tuple[str, ...] = ()
    stop_ids: tuple[int, ...] = ()


@dataclass(frozen=True)
class Completion:
    """A finished request: the ids that were generated, what ended it included; its text; `stop` or `length`."""

    key: str
    text: str
    token_ids: tuple[int, ...]
    finish_reason: str

    @property
    def num_tokens(self) -> int:
        return len(self.token_ids)


def text_of(tokenizer: Any, token_ids: Sequence[int], ends: Collection[int], stop: Sequence[str]) -> str:
    """What a completion says, up to a stop text: without the id of `ends` that ended it and without padding. Other special
    tokens are kept, as `<think>`."""
    ids = list(token_ids[:-1] if token_ids and token_ids[-1] in ends else token_ids)
    kept = [number for number in ids if number != tokenizer.pad_token_id or number in ends]
    text = str(tokenizer.decode(kept, skip_special_tokens=False, clean_up_tokenization_spaces=False))
    for mark in stop:
        text = text.split(mark)[0]
    return text


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
