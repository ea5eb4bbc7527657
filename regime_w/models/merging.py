"""Merge a LoRA adapter shard by shard: read, add scale * B @ A, write and hash, several shards side by side.

    products = low_rank(adapted, state, model_shapes(base))    # None where PEFT itself has to merge
    hashes = write_merged(base, products, folder)              # SHA-256 of each shard, by its name

No model is built, and the files have the base's names and form.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from regime_w.models.folders import INDEX, weight_files
from regime_w.models.weights import safetensors_shapes
from regime_w.runtime.compute import threads
from regime_w.runtime.records import sha256_file, write_json

SHARD_BYTES = 1_000_000_000


class Product(NamedTuple):
    """What is added to a weight (outputs, inputs): scale * b @ a."""

    scale: float
    a: torch.Tensor  # (rank, inputs)
    b: torch.Tensor  # (outputs, rank)


def low_rank(
    adapted: Any, state: Mapping[str, torch.Tensor], shapes: Mapping[str, list[int]]
) -> dict[str, Product] | None:
    """The products of a plain LoRA by the names of the base's weights; None for an adapter that does anything else.

    `adapted`: the PEFT model, which may be without weights; `state`: the adapter's tensors; `shapes`: of the base's files.
    """
    from peft.tuners.lora.layer import Linear
    from peft.tuners.tuners_utils import BaseTunerLayer

    products: dict[str, Product] = {}
    own = set(state)
    layers: list[tuple[str, Any]] = [
        (name, module) for name, module in adapted.named_modules() if isinstance(module, BaseTunerLayer)
    ]
    for name, module in layers:
        place = name.removeprefix("base_model.model.")
        pair = [f"{name}.lora_{side}.weight" for side in "AB"]
        plain = type(module) is Linear and not module.lora_variant and not module.fan_in_fan_out
        if not plain or f"{place}.weight" not in shapes or not own.issuperset(pair):
            return None
        own -= set(pair)
        product = Product(module.scaling["default"], *(state[key] for key in pair))
        if shapes[f"{place}.weight"] != [product.b.shape[0], product.a.shape[1]]:
            return None
        products[f"{place}.weight"] = product
    return None if own else products  # whole embeddings, biases, magnitudes


def write_merged(base: Path, products: Mapping[str, Product], folder: Path) -> dict[str, str]:
    """Write the weights of base and products to `folder`; SHA-256 of each file by its name. No more than a shard a thread is
    in memory."""
    shards: list[list[tuple[Path, str]]] = [[]]
    size = 0.0
    for file in weight_files(base):
        weights = {name: prod(shape) for name, shape in safetensors_shapes(file).items()}
        width = file.stat().st_size / max(1, sum(weights.values()))  # bytes a weight
        for name, count in weights.items():
            if shards[-1] and size + count * width > SHARD_BYTES:
                shards.append([])
                size = 0.0
            shards[-1].append((file, name))
            size += count * width
    several = len(shards) > 1
    files = [f"model-{n:05d}-of-{len(shards):05d}.safetensors" for n in range(1, len(shards) + 1)]
    files = files if several else ["model.safetensors"]

    def write(shard: list[tuple[Path, str]], target: Path) -> str:
        tensors = {}
        for file, name in shard:
            with safe_open(file, "pt") as opened:
                tensors[name] = added(opened.get_tensor(name), products.get(name))
        save_file(tensors, target, metadata={"format": "pt"})
        return sha256_file(target)

    # One thread of torch's each: the shards are what is done side by side.
    with ThreadPoolExecutor(threads(), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        hashes = list(pool.map(write, shards, [folder / file for file in files]))
    if several:
        places = {name: file for file, shard in zip(files, shards, strict=True) for _, name in shard}
        total = sum((folder / file).stat().st_size for file in files)
        write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": places})
    return dict(zip(files, hashes, strict=True))


@contextmanager
def in_float32(model: Any) -> Iterator[None]:
    """Let a model of any type compute in float32, its weights converted a module at a time.

    In bfloat16 the same weights give logits that differ by half their spread where they stand in another order of sums.
    """
    from peft.tuners.lora.layer import ParamWrapper

    # Their parameters are computed outside the module that holds them.
    wrapped = {module.get_base_layer() for module in model.modules() if isinstance(module, ParamWrapper)}
    kept = {module: _widened(module) for module in wrapped}

    def before(module: Any, _: Any) -> None:
        kept[module] = _widened(module)

    def after(module: Any, *_: Any) -> None:
        for parameter, values in kept.pop(module):
            parameter.data = values

    plain = [module for module in model.modules() if module._parameters and module not in wrapped]
    hooks = [module.register_forward_pre_hook(before) for module in plain]
    hooks += [module.register_forward_hook(after) for module in plain]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for module in list(kept):
            after(module)


def _widened(module: Any) -> list[tuple[Any, torch.Tensor]]:
    """Convert a module's own parameters; returns them with what they were."""
    own = [
        (parameter, parameter.data) for parameter in module.parameters(recurse=False) if parameter.is_floating_point()
    ]
    for parameter, values in own:
        parameter.data = values.float()
    return own


def added(weight: torch.Tensor, product: Product | None) -> torch.Tensor:
    """Weight and product in the weight's type, rounded once."""
    if product is None:
        return weight
    return torch.addmm(weight.float(), product.b.float(), product.a.float(), alpha=product.scale).to(weight.dtype)
