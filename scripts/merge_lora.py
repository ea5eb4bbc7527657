"""Merge a LoRA adapter into its base, save the merged model, and prove that it is the same model.

    python -m scripts.merge_lora --params '{"device": "auto"}' --base checkpoints/demo/base \
        --adapter checkpoints/demo/sft_lora --output checkpoints/demo/sft_merged --gpus 0

Proof: the folder is loaded again and its logits on a few prompts are held against base + adapter.
"""

import argparse
import logging
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoTokenizer
from transformers.utils.logging import disable_progress_bar

from regime_w.models.adapters import ADAPTER_WEIGHTS, check_adapter, fit_embeddings, has_tokenizer, untie
from regime_w.models.cards import card
from regime_w.models.folders import INDEX, check_model, load_model, model_shapes, trusted
from regime_w.models.manifests import MANIFEST, HashedFolder, list_files, new_artefact, write_manifest
from regime_w.models.merging import in_float32, low_rank, write_merged
from regime_w.runtime.compute import out_of_memory, threads
from regime_w.runtime.errors import UserError, run
from regime_w.runtime.records import from_argument, write_text

log = logging.getLogger(__name__)

PROBES = ("Question:\nTom has 3 apples and buys 4 more. How many apples has he?\nAnswer:\n", "12 * 12 = ", "The ")
# Root mean square over a probe, in standard deviations of its logits. Rounding W + BA once to 8 bits of mantissa moved those of
# a 1.5B model by 0.006 (single ones by 0.07), an adapter that changes each weight by 5 % by 0.1.
TOLERANCE = {torch.float32: 0.002, torch.float16: 0.01}
ROUNDED = 0.05
HEADROOM = 1.3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", type=from_argument, required=True, help="config section merge")
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--adapter", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True, help="the merged folder")
    parser.add_argument("--gpus", type=int, default=0)
    parser.add_argument("--card", type=from_argument, default={}, help="what the model card says it is made of")
    args = parser.parse_args()
    torch.set_num_threads(threads())
    disable_progress_bar()

    base, adapter = HashedFolder(args.base), HashedFolder(args.adapter)
    size = sum(entry["bytes"] for name, entry in base.manifest["files"].items() if name.endswith(".safetensors"))
    device = choose_device(args.params["device"], size, args.gpus)
    log.info(f"LoRA merge\nConfiguration:\n  Base model: {base.folder}\n  LoRA adapter: {adapter.folder}")
    log.info(f"  Output path: {args.output}\n  Device: {device}")

    with new_artefact(args.output) as folder, ThreadPoolExecutor(1) as beside:
        try:
            with base.suspected(), adapter.suspected():
                expected, hashes = merge(base.folder, adapter.folder, folder, device, args.params)
            base.verify()
            adapter.verify()
            write_text(folder / "README.md", card(args.card, "model"))
            files = beside.submit(list_files, folder, hashes)
            with phase("Verifying the saved model"):
                check_model(folder)
                worst = verify(folder, device, expected, args.params)
        except torch.OutOfMemoryError as error:
            raise out_of_memory(error, "nothing: set merge.device: cpu") from None
        made_from = {"base": base.fingerprint, "adapter": adapter.fingerprint, "largest_logit_difference": worst}
        with phase("Writing the manifest"):
            write_manifest(folder, made_from, files.result())
    log.info(f"  largest logit difference to base + adapter: {worst:.4f} of the logits' standard deviation")
    log.info(f"LoRA merge complete!\nMerged model saved to: {args.output}")


@contextmanager
def phase(what: str) -> Iterator[None]:
    log.info(f"{what} ...")
    start = time.monotonic()
    yield
    log.info(f"  done in {time.monotonic() - start:.1f} s")


def choose_device(wanted: str, model_bytes: int, gpus: int) -> str:
    """`cuda` if a GPU is leased and has room for the model; UserError where cuda is asked for and cannot be."""
    if wanted == "cpu" or (wanted == "auto" and not gpus):
        return "cpu"
    if not gpus or not torch.cuda.is_available():
        raise UserError("merge.device is cuda but this job has no GPU; set merge.device: auto")
    free, _ = torch.cuda.mem_get_info()
    if free < HEADROOM * model_bytes:
        if wanted == "cuda":
            raise UserError(
                f"merge.device is cuda but {free / 2**30:.1f} GiB are free for a model of {model_bytes / 2**30:.1f} GiB"
            )
        return "cpu"
    return "cuda"


def merge(
    base: Path, adapter: Path, folder: Path, device: str, params: dict[str, Any]
) -> tuple[list[torch.Tensor], dict[str, str]]:
    """Write the merged model; returns the logits of base + adapter on the probes and the SHA-256 of files by name.

    The shards of a plain LoRA are written while base + adapter are loaded for their logits. What else an adapter may do,
    PEFT merges in the loaded model.
    """
    with phase("Checking the adapter"):
        skeleton = check_adapter(adapter, base, params)
        products = low_rank(skeleton, load_file(adapter / ADAPTER_WEIGHTS), model_shapes(base))
    hashes: dict[str, str] = {}
    with ThreadPoolExecutor(1) as beside:
        written = beside.submit(write_merged, base, products, folder) if products else None
        with phase(f"Loading base model {base}"):
            model = load_model(base, params, dtype="auto", device_map={"": device})
            resized = fit_embeddings(model, adapter)
            # A tokenizer with more tokens came with the embeddings that it needs.
            words = adapter if resized and has_tokenizer(adapter) else base
            tokenizer = AutoTokenizer.from_pretrained(words, **trusted(params))
        with phase(f"Loading LoRA adapter from {adapter}"):
            adapted = PeftModel.from_pretrained(model, adapter).eval()
            expected = logits(adapted, tokenizer)
        with phase(f"Merging LoRA weights into base model, to {folder}"):
            if written:
                hashes = written.result()
                copy_others(base, folder)
            else:
                if untie(adapted):
                    log.info("  input and output embeddings were one matrix, and are two from here on")
                adapted.merge_and_unload(safe_merge=True).save_pretrained(folder, max_shard_size="4GB")
                tokenizer.save_pretrained(folder)
    return expected, hashes


def copy_others(base: Path, folder: Path) -> None:
    """All of a model folder but its weights and what is said of them: configuration, tokenizer, licence, code."""
    for path in base.glob("[!.]*"):
        if path.is_file() and path.suffix != ".safetensors" and path.name not in (INDEX, MANIFEST, "README.md"):
            shutil.copyfile(path, folder / path.name)


def verify(folder: Path, device: str, expected: list[torch.Tensor], params: dict[str, Any]) -> float:
    """Load the saved model and return how far its logits are off, of the worst probe; UserError above tolerance."""
    model = load_model(folder, params, dtype="auto", device_map={"": device}).eval()
    found = logits(model, AutoTokenizer.from_pretrained(folder, **trusted(params)))
    worst = max(float((a - b).square().mean().sqrt() / b.std()) for a, b in zip(found, expected, strict=True))
    tolerance = TOLERANCE.get(model.dtype, ROUNDED)
    if not worst <= tolerance:
        raise UserError(
            f"merged model differs from base + adapter: logits by {worst:.4f} standard deviations, {tolerance:g} allowed; "
            "try merge.device: cpu"
        )
    return worst


@torch.inference_mode()
def logits(model: Any, tokenizer: Any) -> list[torch.Tensor]:
    """Logits (tokens, vocabulary), computed in float32, on the CPU, one tensor a probe."""
    probes = [tokenizer(text, return_tensors="pt").input_ids.to(model.device) for text in PROBES]
    with in_float32(model):
        return [model(input_ids=ids).logits[0].float().cpu() for ids in probes]


if __name__ == "__main__":
    run(main)
