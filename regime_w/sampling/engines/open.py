"""Which engine answers, and opening it."""

import importlib.metadata
import importlib.util
import logging
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from regime_w.models.folders import trusted
from regime_w.runtime.errors import UserError
from regime_w.sampling.engines.interface import Engine

log = logging.getLogger(__name__)


def choose(name: str, gpus: int) -> tuple[str, str]:
    """Resolve `auto`; returns the engine's name and version, says which and why, UserError where it cannot run."""
    has_vllm = importlib.util.find_spec("vllm") is not None
    if name == "vllm" and not has_vllm:
        raise UserError(
            "engine.name is vllm but vLLM is not installed here; install envs/gpu.lock or set engine.name: transformers"
        )
    if name == "openai" and importlib.util.find_spec("openai") is None:
        raise UserError("engine.name is openai but its client is not installed here; run `pip install openai`")
    if name == "auto":
        name, why = (
            ("vllm", f"{gpus} GPU(s) and vLLM are here") if gpus and has_vllm else ("transformers", "no GPU here")
        )
        if name == "transformers" and gpus:
            why = "vLLM is not installed; envs/gpu.lock has it and is far faster"
        log.info(f"Engine: {name} ({why})")
    else:
        log.info(f"Engine: {name} (set in the config)")
    # The CPU build of vLLM is a distribution of another name.
    package = importlib.metadata.packages_distributions()["vllm"][0] if name == "vllm" else name
    return name, importlib.metadata.version(package)


def open_engine(name: str, model: Path, params: dict[str, Any], gpus: int, seed: int) -> AbstractContextManager[Engine]:
    """The engine `name` for the model, to be loaded; `params` is the config section `engine`, with trust_remote_code
    where the config trusts the model's code."""
    if name == "vllm":
        from regime_w.sampling.engines.vllm import open_vllm

        return open_vllm(model, params["vllm"] | trusted(params), gpus, seed)
    if name == "openai":
        from regime_w.sampling.engines.openai import open_served

        return open_served(model, params["openai"] | trusted(params))
    from regime_w.sampling.engines.transformers import open_transformers

    return open_transformers(model, params["transformers"] | trusted(params), gpus)
