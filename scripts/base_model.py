"""Put the base model in place as a Hugging Face folder with safetensors weights, tokenizer and manifest.

    python -m scripts.base_model --params '{"source": "local", "path": "...", ...}' --prompts '{"prompt": {...}}' \
        --output checkpoints/demo/base

Sources: `tiny` (trained here from scratch), `hub` (a snapshot), `local` (a folder) and `gguf` (one file).
.bin weights become safetensors, one shard in memory at a time, read with weights_only.
"""

import argparse
import logging
import os
import shutil
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch
from transformers.utils.logging import disable_progress_bar

from regime_w.models import tiny as tiny_model
from regime_w.models.adapters import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from regime_w.models.folders import INDEX, check_whole, json_of, mend_generation, trusted
from regime_w.models.gguf import from_gguf
from regime_w.models.manifests import new_artefact, write_manifest
from regime_w.models.weights import convert_bin
from regime_w.runtime.compute import threads
from regime_w.runtime.errors import UserError, run
from regime_w.runtime.records import from_argument, sha256_file, write_json
from regime_w.tasks.prompt_check import check_prompts

log = logging.getLogger(__name__)

OTHERS = ("*.json", "*.model", "*.txt", "*.tiktoken", "*.jinja", "README.md", "LICENSE*", "*.py")
ADAPTER_FILES = (ADAPTER_CONFIG, ADAPTER_WEIGHTS, "adapter_model.bin")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", type=from_argument, required=True, help="config section base_model, and seed")
    parser.add_argument(
        "--prompts", type=from_argument, help="by name, each prompt (with styles) that it is to be asked"
    )
    parser.add_argument("--output", type=Path, required=True, help="the model folder")
    args = parser.parse_args()
    params = args.params
    disable_progress_bar()
    made_from: dict[str, Any] = {key: params[key] for key in ("source", "hub_id", "revision", "path", "licence")}
    made_from["trust_remote_code"] = params["trust_remote_code"]

    with new_artefact(args.output) as folder:
        if params["source"] == "tiny":
            torch.set_num_threads(threads())
            made_from |= {
                "tiny": params["tiny"],
                "training": tiny_model.build(
                    folder, params["tiny"], params["seed"], threads(), args.output.with_suffix(".work")
                ),
            }
        elif params["source"] == "gguf":
            from_gguf(Path(params["path"]), folder)
            made_from["sha256"] = sha256_file(Path(params["path"]))
        else:
            source = Path(params["path"]) if params["path"] else download(params)
            copy_model(source, folder, params["trust_remote_code"])
        mend_generation(folder)
        check_whole(folder, params)
        if args.prompts:
            check_prompts(folder, args.prompts, trusted(params))
        write_manifest(folder, made_from)
    log.info(f"Base model in {args.output}")


def download(params: dict[str, Any]) -> Path:
    """The hub snapshot's folder; downloads resume where they stopped, and without network the cache is used.

    UserError where the model is in neither.
    """
    from huggingface_hub import list_repo_files, snapshot_download

    name, revision = params["hub_id"], params["revision"]
    try:
        files = wanted_files(list_repo_files(name, revision=revision))
        return Path(snapshot_download(name, revision=revision, allow_patterns=files))
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
    try:
        folder = Path(snapshot_download(name, revision=revision, local_files_only=True))
    except (OSError, ValueError):
        raise UserError(
            f"{name}: cannot be had from the hub ({reason}), and is not in the cache; "
            "without network set base_model.source: local and a path"
        ) from None
    log.info(f"{name}: from the cache, {folder} (hub: {reason})")
    return folder


def wanted_files(names: Iterable[str]) -> list[str]:
    """Of a model folder's files those that a run needs: one form of the weights, and all that is no weights."""
    top = [name for name in names if "/" not in name and name not in ADAPTER_FILES]
    has_safetensors = "model.safetensors" in top or "model.safetensors.index.json" in top
    weights = "*.safetensors" if has_safetensors else "*.bin"
    return [name for name in top if any(fnmatch(name, form) for form in (*OTHERS, weights))]


def copy_model(source: Path, folder: Path, with_code: bool) -> None:
    """Copy a model folder, .bin weights as safetensors; code files only with `with_code`."""
    if not source.is_dir():
        raise UserError(f"base_model.path: {source} is no folder; give a Hugging Face model folder")
    weights, index = weights_of(source)
    for path in weights:
        if path.suffix == ".bin":
            convert_bin(path, folder / safetensors_name(path.name))
        else:
            # Not the caches' symlinks: a later change there must not reach this run.
            shutil.copyfile(path, folder / path.name)
    if index:
        index["weight_map"] = {tensor: safetensors_name(file) for tensor, file in index["weight_map"].items()}
        write_json(folder / INDEX, index)
    left = []
    for path in sorted(path for path in source.iterdir() if path.is_file() and path not in weights):
        if path.name in ADAPTER_FILES or path.suffix in (".safetensors", ".bin"):
            left.append(path.name)
        elif path.name.endswith(".index.json") or (path.suffix == ".py" and not with_code):
            continue
        elif any(fnmatch(path.name, form) for form in OTHERS):
            shutil.copyfile(path, folder / path.name)
    if left:
        advice = "; an adapter that is to be used is named in sft.adapter" if {*left} & {*ADAPTER_FILES} else ""
        log.info(f"Left behind, no part of the model's own weights: {', '.join(left)}{advice}")


def weights_of(source: Path) -> tuple[list[Path], dict[str, Any] | None]:
    """The weight files of a model folder, in the order in which transformers looks for them, and their index.

    UserError where there are none, or one that the index names is missing.
    """
    for single in ("model.safetensors", "pytorch_model.bin"):
        if (source / single).is_file():
            return [source / single], None
        if not (source / f"{single}.index.json").is_file():
            continue
        index = json_of(source / f"{single}.index.json")
        try:
            names = sorted(set(index["weight_map"].values()))
        except (AttributeError, KeyError):
            raise UserError(f"{source / single}.index.json: is no index of weights; fetch the model again") from None
        for name in names:
            if Path(name).name != name or not (source / name).is_file():
                raise UserError(f"{source / name}: named in {single}.index.json but missing; fetch the whole model")
        return [source / name for name in names], index
    raise UserError(f"{source}: {no_weights(source)}")


def no_weights(source: Path) -> str:
    """Why a folder has no weights that could be taken, and what to do."""
    names = [path.name for path in source.iterdir()]
    if "adapter_config.json" in names:
        return "is an adapter without its model; name it in sft.adapter, and the model that it was trained on here"
    if any(fnmatch(name, "*-of-*.safetensors") or fnmatch(name, "*-of-*.bin") for name in names):
        return "has shards without their index (model.safetensors.index.json); fetch or save the whole model"
    if gguf := sorted(name for name in names if name.endswith(".gguf")):
        return f"holds {gguf[0]}; set base_model.source: gguf and base_model.path to that file"
    others = [name for name in names if Path(name).suffix in (".safetensors", ".pth", ".pt", ".h5", ".msgpack", ".bin")]
    if others:
        return f"has weights in a form of their own ({sorted(others)[0]}); save them with transformers' save_pretrained"
    return "no weights (model.safetensors, pytorch_model.bin, or an index of either); the folder is empty or incomplete"


def safetensors_name(name: str) -> str:
    return name.replace("pytorch_model", "model", 1).removesuffix(".bin") + ".safetensors"


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    run(main)
