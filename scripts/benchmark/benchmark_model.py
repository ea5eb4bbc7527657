"""A model of random weights in the shape of a real one.

    python -m scripts.benchmark.benchmark_model --params '{"shape": "abel", "text": "...", "seed": 0}' \
        --output checkpoints/benchmark/base --gpus 1
"""

import argparse
import logging
import time
from pathlib import Path
from typing import Any

import torch

from regime_w.models.manifests import new_artefact, write_manifest
from regime_w.models.random_weights import write_model
from regime_w.runtime.compute import threads
from regime_w.runtime.errors import run
from regime_w.runtime.records import from_argument

log = logging.getLogger(__name__)

MATMUL_SIZE, MATMUL_TIMES = 8192, 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", type=from_argument, required=True, help="shape, text and seed")
    parser.add_argument("--output", type=Path, required=True, help="the new folder")
    parser.add_argument("--gpus", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(threads())
    params = args.params
    generator = torch.Generator("cuda" if args.gpus else "cpu").manual_seed(params["seed"])
    with new_artefact(args.output) as folder:
        weights = write_model(folder, params["shape"], params["text"], params["seed"], generator)
        made_from: dict[str, Any] = {"random": True, "shape": params["shape"], "weights": weights}
        if args.gpus:
            made_from |= {"gpu": torch.cuda.get_device_name(), "matmul_tflops": matmul_tflops()}
        write_manifest(folder, made_from)
    log.info(f"Random weights in {args.output}")


def matmul_tflops() -> float:
    """TFLOP/s that one large bfloat16 matrix product reaches on this GPU, 2 n^3 operations each."""
    a, b = (torch.randn(MATMUL_SIZE, MATMUL_SIZE, dtype=torch.bfloat16, device="cuda") for _ in range(2))
    for _ in range(MATMUL_TIMES):
        a @ b
    torch.cuda.synchronize()
    start = time.monotonic()
    for _ in range(MATMUL_TIMES):
        a @ b
    torch.cuda.synchronize()
    return 2 * MATMUL_SIZE**3 * MATMUL_TIMES / (time.monotonic() - start) / 1e12


if __name__ == "__main__":
    run(main)
