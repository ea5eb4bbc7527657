"""Model folders and LoRA adapters in Hugging Face form: what must be in them, read from headers alone."""

import json
import struct
from pathlib import Path
from typing import Any

from scripts.errors import UserError

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json")
ADAPTER_WEIGHTS = "adapter_model.safetensors"


def safetensors_shapes(path: Path) -> dict[str, list[int]]:
    """Tensor shapes from a safetensors header; UserError where the file is cut short.

    Format: 8 bytes length, JSON header with data offsets, data (huggingface/safetensors README).
    """
    hint = "fetch or save it again"
    size = path.stat().st_size
    with open(path, "rb") as file:
        prefix = file.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else size
        if 8 + length > size:
            raise UserError(f"{path}: truncated safetensors header ({size} bytes); {hint}")
        try:
            header = json.loads(file.read(length))
        except ValueError:
            raise UserError(f"{path}: not a safetensors file; {hint}") from None
    tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
    end = 8 + length + max((entry["data_offsets"][1] for entry in tensors.values()), default=0)
    if end != size:
        raise UserError(f"{path}: truncated safetensors file, {size} bytes where its header says {end}; {hint}")
    return {name: entry["shape"] for name, entry in tensors.items()}


def model_shapes(folder: Path) -> dict[str, list[int]]:
    """Tensor shapes of a whole model folder; UserError where weights are missing, or an index names an absent file."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    else:
        names = sorted(path.name for path in folder.glob("*.safetensors"))
    if not names:
        raise UserError(f"{folder}: no safetensors weights; the folder is empty or incomplete")
    shapes: dict[str, list[int]] = {}
    for name in names:
        if not (folder / name).is_file():
            raise UserError(f"{folder / name}: named in {index.name} but missing; fetch or save the model again")
        shapes |= safetensors_shapes(folder / name)
    return shapes


def check_model(folder: Path) -> dict[str, list[int]]:
    """UserError unless the folder has config, tokenizer and complete weights; returns the tensor shapes."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such model folder; check the path in the config")
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder}: no config.json; this is not a Hugging Face model folder")
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise UserError(f"{folder}: no tokenizer ({', '.join(TOKENIZER_FILES)}); save it beside the model")
    return model_shapes(folder)


def check_adapter(adapter: Path, base: Path) -> dict[str, Any]:
    """The adapter's config; UserError unless every LoRA matrix fits a weight of the base model."""
    config_file, weights = adapter / "adapter_config.json", adapter / ADAPTER_WEIGHTS
    for path in (config_file, weights):
        if not path.is_file():
            raise UserError(f"{path}: missing; {adapter} is not a PEFT adapter folder")
    config = json.loads(config_file.read_text())
    base_shapes = model_shapes(base)
    for name, shape in safetensors_shapes(weights).items():
        for mark, axis, side in ((".lora_A.", 1, "inputs"), (".lora_B.", 0, "outputs")):
            if mark not in name:
                continue
            target = name.split(mark)[0].removeprefix("base_model.model.") + ".weight"
            found = base_shapes.get(target)
            if found is None:
                raise UserError(f"{adapter}: adapts {target}, which {base} does not have; it was made for another base")
            if shape[axis] != found[axis]:
                raise UserError(
                    f"{adapter}: {target} has {found[axis]} {side} in {base}, {shape[axis]} in the adapter; "
                    "it was made for another base"
                )
    return config
