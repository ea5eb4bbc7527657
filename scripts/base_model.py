"""Put the base model in place as a Hugging Face folder with safetensors weights, tokenizer and manifest.

    python -m scripts.base_model --params '{"source": "local", "path": "...", ...}' --prompts '{"prompt": {...}, ...}' \
        --output checkpoints/demo/base

Sources: `tiny` (trained here from scratch), `hub` (a snapshot), `local` (a folder) and `gguf` (one file).
.bin weights become safetensors, one shard in memory at a time, read with weights_only.
"""

import argparse
import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch

from regime_w.models import tiny as tiny_model
from regime_w.models.folders import check_code, check_model, trusted
from regime_w.models.manifests import new_artefact, write_manifest
from regime_w.runtime.compute import threads
from regime_w.runtime.errors import UserError, run
from regime_w.runtime.records import from_argument, sha256_file
from regime_w.tasks.prompt_check import check_prompts

WANTED = ("*.json", "*.model", "*.txt", "*.safetensors", "*.bin", "*.jinja", "README.md", "LICENSE*", "*.py")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", type=from_argument, required=True, help="config section base_model, and seed")
    parser.add_argument("--prompts", type=from_argument, help="prompt and styles, which the model is to serve")
    parser.add_argument("--output", type=Path, required=True, help="the model folder")
    args = parser.parse_args()
    params = args.params
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
            made_from["sha256"] = from_gguf(Path(params["path"]), folder)
        else:
            source = Path(params["path"]) if params["path"] else download(params)
            copy_model(source, folder, params["trust_remote_code"])
        check_model(folder)
        check_code(folder, params)
        if args.prompts:
            check_prompts(folder, args.prompts, trusted(params))
        write_manifest(folder, made_from)
    print(f"Base model in {args.output}")


def download(params: dict[str, Any]) -> Path:
    """The hub snapshot's folder; downloads resume where they stopped. UserError where it cannot be had."""
    from huggingface_hub import list_repo_files, snapshot_download

    try:
        names = list_repo_files(params["hub_id"], revision=params["revision"])
        # Both forms of the weights are the same weights: take one.
        skip = ["*.bin"] if any(name.endswith(".safetensors") for name in names) else []
        return Path(
            snapshot_download(
                params["hub_id"], revision=params["revision"], allow_patterns=list(WANTED), ignore_patterns=skip
            )
        )
    except (OSError, ValueError) as error:
        raise UserError(
            f"{params['hub_id']}: cannot be had from the hub ({str(error).splitlines()[0]}); "
            "without network set base_model.source: local and a path"
        ) from None


def copy_model(source: Path, folder: Path, with_code: bool) -> None:
    """Copy a model folder, .bin weights as safetensors; code files only with `with_code`."""
    if not source.is_dir():
        raise UserError(f"base_model.path: {source} is no folder; give a Hugging Face model folder")
    files = sorted({path for pattern in WANTED for path in source.glob(pattern) if path.is_file()})
    has_safetensors = any(path.suffix == ".safetensors" for path in files)
    for path in files:
        if path.suffix == ".py" and not with_code:
            continue
        if path.suffix == ".bin":
            if not has_safetensors and path.name.startswith("pytorch_model"):
                convert_bin(path, folder / safetensors_name(path.name))
        elif path.name == "pytorch_model.bin.index.json":
            if not has_safetensors:
                convert_index(path, folder / "model.safetensors.index.json")
        else:
            # Not the caches' symlinks: a later change there must not reach this run.
            shutil.copyfile(path, folder / path.name)


def safetensors_name(name: str) -> str:
    return name.replace("pytorch_model", "model", 1).removesuffix(".bin") + ".safetensors"


def convert_bin(source: Path, target: Path) -> None:
    """Convert one .bin shard; tensors that share memory are stored apart, as safetensors wants."""
    from safetensors.torch import save_file

    try:
        state = torch.load(source, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # torch raises pickle, runtime and zip errors for bad files
        raise UserError(
            f"{source}: not a readable .bin shard ({str(error).splitlines()[0]:.120}); fetch it again"
        ) from None
    print(f"Converting {source.name} to {target.name} ({len(state)} tensors)", flush=True)
    seen: set[int] = set()
    for name, tensor in state.items():
        shared = tensor.data_ptr() in seen
        seen.add(tensor.data_ptr())
        state[name] = tensor.clone() if shared else tensor.contiguous()
    save_file(state, target, metadata={"format": "pt"})


def convert_index(source: Path, target: Path) -> None:
    index = json.loads(source.read_text())
    index["weight_map"] = {name: safetensors_name(file) for name, file in index["weight_map"].items()}
    target.write_text(json.dumps(index, indent=2) + "\n")


def from_gguf(file: Path, folder: Path) -> str:
    """Dequantise a GGUF file to a bfloat16 folder; returns the file's SHA-256."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    if not file.is_file():
        raise UserError(f"base_model.path: {file} is no file; give a GGUF file")
    where: dict[str, Any] = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name, **trusted({})}
    print(f"Reading {file} ...", flush=True)
    loaded = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    config = AutoConfig.from_pretrained(**where)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    # A model read from GGUF refuses save_pretrained: carry its weights into a plain one.
    model = AutoModelForCausalLM.from_config(config)
    model.load_state_dict(loaded.state_dict())
    model.generation_config = loaded.generation_config
    model.to(torch.bfloat16).save_pretrained(folder)
    AutoTokenizer.from_pretrained(**where).save_pretrained(folder)
    return sha256_file(file)


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    run(main)
