"""Rejection-sampling fine-tuning: train a LoRA adapter on the merged policy with its own correct trajectories.

    python -m scripts.train_rft --params '{"rejection_sampling": {...}, "seed": 0}' \
        --policy checkpoints/demo/sft_merged --samples data/demo/round1/samples.jsonl \
        --work checkpoints/demo/round1/rft_lora.work --output checkpoints/demo/round1/rft_lora --gpus 0

RFT of Yuan et al. 2023 (arXiv 2308.01825), from the SFT model instead of the base: the rival that preferences must beat.
A sample is trained on as it was sampled, by its token ids; one of another tool, without ids, as train_sft's answers.
"""

import argparse
from pathlib import Path

from regime_w.models.folders import trusted
from regime_w.models.manifests import load_manifest
from regime_w.runtime.errors import UserError, run
from regime_w.runtime.records import fingerprint, from_argument, read_jsonl
from regime_w.runtime.seals import check, require_same
from regime_w.tasks.prompts import prompts_of
from regime_w.training import trainer as training
from regime_w.training.sampled import ids_of
from regime_w.training.sft import example, train


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", type=from_argument, required=True, help="rejection_sampling, prompt, styles, seed")
    parser.add_argument("--policy", type=Path, required=True)
    parser.add_argument("--samples", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="checkpoints to resume from; kept over failures")
    parser.add_argument("--output", type=Path, required=True, help="the adapter folder")
    parser.add_argument("--gpus", type=int, default=0)
    parser.add_argument(
        "--card", type=from_argument, default={}, help="what the adapter's model card says it is made of"
    )
    parser.add_argument("--tracking", type=from_argument, default={}, help="to (trackers), project, run, folder")
    args = parser.parse_args()
    training.launch(args.gpus, "scripts.train_rft")

    source = check(args.samples)
    rows = read_jsonl(args.samples, required=("prompt", "completion"))
    if not rows:
        raise UserError(f"{args.samples}: no correct trajectory; see samples.json for why")
    policy, manifest = load_manifest(args.policy)
    require_same(source, "model", policy, manifest["fingerprint"])
    prompts = prompts_of(policy, args.params, trusted(args.params))
    data = [example(*ids_of(prompts, row, "completion")) for row in rows]
    made_from = {"policy": manifest["fingerprint"], "data": fingerprint(data), "params": args.params}
    train(
        args, "RFT", args.params["rejection_sampling"], policy, prompts.tokenizer, data, args.params["seed"], made_from
    )


if __name__ == "__main__":
    run(main)
