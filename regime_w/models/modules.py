"""Names of a model's modules that a LoRA adapter can adapt, and whether a config's `target_modules` are among them."""

import difflib
from collections.abc import Iterable
from pathlib import Path

from regime_w.models.folders import model_shapes
from regime_w.runtime.errors import UserError

# The tiny model's, which is a Llama (regime_w/models/tiny.py).
LLAMA = frozenset({"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "embed_tokens"})
TIED = "lm_head"  # may share the embedding's weights, and then has none of its own in the files


def modules_of(folder: Path) -> frozenset[str]:
    """Dotted names of a model folder's modules that hold a matrix. UserError where its weights are missing."""
    return frozenset(
        name.removesuffix(".weight")
        for name, shape in model_shapes(folder).items()
        if name.endswith(".weight") and len(shape) == 2
    )


def check_target_modules(wanted: list[str] | str, names: Iterable[str], where: str) -> None:
    """UserError for a target module that is none of the model's, which PEFT would pass over where others are."""
    names = set(names)
    for each in [] if isinstance(wanted, str) else wanted:
        if each != TIED and not any(name == each or name.endswith(f".{each}") for name in names):
            own = {name.rpartition(".")[2] for name in names}
            close = difflib.get_close_matches(each, sorted(own), n=1)
            advice = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(sorted(own)[:20])}"
            raise UserError(f"{where}: {each!r:.100} is no module of the model; {advice}")
