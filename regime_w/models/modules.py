"""Names of a model's modules that a LoRA adapter can adapt."""

from pathlib import Path

from regime_w.models.folders import model_shapes

# The tiny model's, which is a Llama (regime_w/models/tiny.py).
LLAMA = frozenset({"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "embed_tokens"})


def modules_of(folder: Path) -> frozenset[str]:
    """Dotted names of a model folder's modules that hold a matrix. UserError where its weights are missing."""
    return frozenset(
        name.removesuffix(".weight")
        for name, shape in model_shapes(folder).items()
        if name.endswith(".weight") and len(shape) == 2
    )
