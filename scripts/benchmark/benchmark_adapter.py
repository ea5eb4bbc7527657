"""A LoRA adapter of random weights for a model.

    python -m scripts.benchmark.benchmark_adapter --params '{"lora": {"r": 64, ...}, "seed": 0}' \
        --base checkpoints/benchmark/base --output checkpoints/benchmark/sft_lora --gpus 1
"""

import argparse
import logging
from pathlib import Path

import torch

from regime_w.models.adapters import check_adapter
from regime_w.models.manifests import load_manifest, new_artefact, write_manifest
from regime_w.models.random_weights import write_adapter
from regime_w.runtime.compute import threads
from regime_w.runtime.errors import run
from regime_w.runtime.records import from_argument

log = logging.getLogger(__name__)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", type=from_argument, required=True, help="lora and seed")
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True, help="the new folder")
    parser.add_argument("--gpus", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(threads())
    params = args.params
    generator = torch.Generator("cuda" if args.gpus else "cpu").manual_seed(params["seed"])
    base, manifest = load_manifest(args.base)
    with new_artefact(args.output) as folder:
        write_adapter(folder, base, params["lora"], generator)
        check_adapter(folder, base, {})
        write_manifest(folder, {"random": True, "base": manifest["fingerprint"], "lora": params["lora"]})
    log.info(f"Random adapter in {args.output}")


if __name__ == "__main__":
    run(main)
