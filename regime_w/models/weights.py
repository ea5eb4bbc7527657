"""Weight files: shapes of safetensors, .bin files of torch as safetensors, and whether all values are finite.

safetensors_shapes(Path("model.safetensors"))    # {"lm_head.weight": [32000, 4096], ...}
convert_bin(Path("pytorch_model.bin"), Path("model.safetensors"))
"""

import logging
import zipfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from regime_w.runtime.compute import threads
from regime_w.runtime.errors import UserError

log = logging.getLogger(__name__)


def safetensors_shapes(path: Path) -> dict[str, list[int]]:
    """Tensor shapes from a safetensors file's header; UserError where the file is cut short or another kind of file."""
    try:
        with safe_open(path, "np") as file:
            return {name: list(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise UserError(f"{path}: not a whole safetensors file ({error}); fetch or save it again") from None


def convert_bin(source: Path, target: Path) -> None:
    """Convert one .bin file; tensors that share memory are stored apart, as safetensors wants.

    One in torch's legacy form, which is no zip archive, cannot be mapped and is read whole. UserError where the file holds
    anything but tensors by name.
    """
    import torch
    from safetensors.torch import save_file

    try:
        state = torch.load(source, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(source))
    except Exception as error:  # torch raises pickle, runtime and zip errors for bad files
        raise UserError(
            f"{source}: not a readable .bin shard ({str(error).splitlines()[0]:.120}); fetch it again"
        ) from None
    if not isinstance(state, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in state.values()):
        raise UserError(f"{source}: holds more than tensors by name; save the model's state_dict alone")
    log.info(f"Converting {source.name} to {target.name} ({len(state)} tensors)")
    seen: set[int] = set()
    for name, tensor in state.items():
        shared = tensor.data_ptr() in seen
        seen.add(tensor.data_ptr())
        state[name] = tensor.clone() if shared else tensor.contiguous()
    save_file(state, target, metadata={"format": "pt"})


def check_finite(files: Iterable[Path]) -> None:
    """UserError where a safetensors file holds a NaN or an infinity."""
    with ThreadPoolExecutor(threads()) as pool:
        for path in files:
            names = list(safetensors_shapes(path))
            parts = [names[start::64] for start in range(min(64, len(names)))]
            for bad in pool.map(_not_finite, [path] * len(parts), parts):
                if bad:
                    raise UserError(f"{path}: {bad} holds values that are no finite numbers; fetch or train it again")


def _not_finite(path: Path, names: list[str]) -> str | None:
    with safe_open(path, "pt") as file:
        return next((name for name in names if not _finite(file.get_tensor(name))), None)


def _finite(tensor: Any) -> bool:
    import torch

    if not tensor.is_floating_point() or not tensor.numel():
        return True
    if tensor.element_size() == 1:  # 8-bit floats have no order in torch
        tensor = tensor.float()
    # The extremes of a tensor with a NaN are NaN: one pass, no copy.
    return bool(torch.isfinite(torch.stack(torch.aminmax(tensor))).all())
