"""What an engine is: a name, a version, and a generator of completions in any order.

To add an engine, write a module with an `Engine` and name it in `open_engine`.
"""

import importlib.metadata
import importlib.util
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from scripts.errors import UserError
from scripts.models import trusted


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
        """Answer with another model from now on, one that is `alike` (scripts/models.py); before `load`: load that one.

        CannotSwitch where its weights cannot take the place of those that are loaded.
        """

    def generate(self, requests: Sequence[Request]) -> Iterator[Completion]: ...


def choose(name: str, gpus: int) -> tuple[str, str]:
    """Resolve `auto`; returns the engine's name and version, says which and why, UserError where it cannot run."""
    has_vllm = importlib.util.find_spec("vllm") is not None
    if name == "vllm" and not has_vllm:
        raise UserError(
            "engine.name is vllm but vLLM is not installed here; install envs/gpu.txt or set engine.name: transformers"
        )
    if name == "auto":
        name, why = (
            ("vllm", f"{gpus} GPU(s) and vLLM are here") if gpus and has_vllm else ("transformers", "no GPU here")
        )
        if name == "transformers" and gpus:
            why = "vLLM is not installed; envs/gpu.txt has it and is far faster"
        print(f"Engine: {name} ({why})", flush=True)
    else:
        print(f"Engine: {name} (set in the config)", flush=True)
    # The CPU build of vLLM is a distribution of another name.
    package = importlib.metadata.packages_distributions()["vllm"][0] if name == "vllm" else "transformers"
    return name, importlib.metadata.version(package)


def open_engine(name: str, model: Path, params: dict[str, Any], gpus: int, seed: int) -> AbstractContextManager[Engine]:
    """The engine `name` for the model, to be loaded; `params` is the config section `engine`, with trust_remote_code
    where the config trusts the model's code."""
    if name == "vllm":
        from scripts.engines.vllm import open_vllm

        return open_vllm(model, params["vllm"] | trusted(params), gpus, seed)
    from scripts.engines.transformers import open_transformers

    return open_transformers(model, params["transformers"] | trusted(params), gpus)
