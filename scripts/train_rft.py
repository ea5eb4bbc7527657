"""Rejection-sampling fine-tuning: train a LoRA adapter on the merged policy with its own correct trajectories.

    python -m scripts.train_rft --params '{"rejection_sampling": {...}, "seed": 0}' \
        --policy checkpoints/demo/sft_merged --samples data/demo/round1/samples.jsonl \
        --work checkpoints/demo/round1/rft_lora.work --output checkpoints/demo/round1/rft_lora --gpus 0

RFT of Yuan et al. 2023 (arXiv 2308.01825), from the SFT model instead of the base: the rival that preferences must beat.
Loss and token ids are those of train_sft.
"""

import argparse
from pathlib import Path

from transformers import AutoTokenizer

from regime_w.models.folders import trusted
from regime_w.models.manifests import load_manifest
from regime_w.runtime.errors import UserError, run
from regime_w.runtime.records import fingerprint, from_argument, read_jsonl
from regime_w.training import trainer as training
from regime_w.training.sft import example, train


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", type=from_argument, required=True, help="rejection_sampling and seed")
    parser.add_argument("--policy", type=Path, required=True)
    parser.add_argument("--samples", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="checkpoints to resume from; kept over failures")
    parser.add_argument("--output", type=Path, required=True, help="the adapter folder")
    parser.add_argument("--gpus", type=int, default=0)
    args = parser.parse_args()
    training.launch(args.gpus, "scripts.train_rft")

    rows = read_jsonl(args.samples, required=("prompt", "completion"))
    if not rows:
        raise UserError(f"{args.samples}: no correct trajectory; see samples.json for why")
    policy, manifest = load_manifest(args.policy)
    tokenizer = AutoTokenizer.from_pretrained(policy, **trusted(args.params))
    data = [example(tokenizer, row["prompt"], row["completion"]) for row in rows]
    made_from = {"policy": manifest["fingerprint"], "data": fingerprint(data), "params": args.params}
    train(args, "RFT", args.params["rejection_sampling"], policy, tokenizer, data, made_from)


if __name__ == "__main__":
    run(main)
