"""Train a DPO LoRA adapter on the merged policy with TRL; the reference is the policy with the adapter off.

    python -m scripts.train_dpo --params '{"dpo": {...}, "prompt": {...}, ...}' --policy checkpoints/demo/sft_merged \
        --preferences data/demo/round1/preferences.jsonl --work checkpoints/demo/round1/dpo_lora.work \
        --output checkpoints/demo/round1/dpo_lora --gpus 0

On 8 GPUs it starts itself through accelerate (data parallel). Loss names are TRL's; `["sigmoid", "sft"]` is DPO
(Rafailov et al. 2023) with the NLL term of Iterative RPO (Pang et al. 2024). A pair is trained on as it was sampled, by its
token ids; one of another tool, texts or messages in TRL's formats, is tokenised here.
"""

import argparse
import logging
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import set_seed
from trl import DPOConfig, DPOTrainer
from trl.trainer.dpo_trainer import DataCollatorForPreference

from regime_w.method.pairs import CALCULATION
from regime_w.models.folders import load_model, positions, trusted
from regime_w.models.manifests import load_manifest
from regime_w.runtime.errors import UserError, run
from regime_w.runtime.records import fingerprint, from_argument, read_jsonl
from regime_w.runtime.seals import check, require_same
from regime_w.tasks.prompts import Prompts, prompts_of
from regime_w.training import trainer as training
from regime_w.training.profiling import StepProfile
from regime_w.training.sampled import ids_of, is_ended
from regime_w.training.tracking import named, trackers

log = logging.getLogger(__name__)


class PretokenizedDPOTrainer(DPOTrainer):
    """Takes prompt_ids, chosen_ids and rejected_ids as they are: the ids that generation used; and a pair's `weight`."""

    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
        return dataset

    def _compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool) -> Any:
        """TRL's loss. With weights its gradient is that of the sum of each pair's own loss times its weight; what is logged
        stays the loss without."""
        weights = inputs.pop("weight", None)
        if weights is None:
            return super()._compute_loss(model, inputs, return_outputs)
        return super()._compute_loss(weighing(model, weights), inputs, return_outputs)


class WeightedPairs(DataCollatorForPreference):
    """TRL's batches, with each pair's `weight`: a tensor (pairs)."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        batch: dict[str, Any] = super().torch_call(examples)
        return batch | {"weight": torch.tensor([example["weight"] for example in examples])}


def weighing(model: Any, weights: torch.Tensor) -> Any:
    """The policy, whose log-probabilities (chosen sides, then rejected) are what they were and whose gradient of pair i is
    `weights[i]` times what it was."""

    def forward(**named: Any) -> Any:
        outputs = model(**named)
        rows = torch.cat([weights, weights]).to(outputs.log_probs)[:, None]
        fixed = outputs.log_probs.detach()
        outputs.log_probs = fixed + rows * (outputs.log_probs - fixed)
        return outputs

    return forward


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", type=from_argument, required=True, help="dpo, prompt, styles, seed")
    parser.add_argument("--policy", type=Path, required=True)
    parser.add_argument("--preferences", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="checkpoints to resume from; kept over failures")
    parser.add_argument("--output", type=Path, required=True, help="the adapter folder")
    parser.add_argument("--gpus", type=int, default=0)
    parser.add_argument(
        "--card", type=from_argument, default={}, help="what the adapter's model card says it is made of"
    )
    parser.add_argument("--tracking", type=from_argument, default={}, help="to (trackers), project, run, folder")
    parser.add_argument("--profile", type=Path, help="write where one optimiser step's time goes, a table")
    args = parser.parse_args()
    training.launch(args.gpus, "scripts.train_dpo")

    dpo, seed = args.params["dpo"], args.params["seed"]
    source = check(args.preferences)
    rows = read_jsonl(args.preferences, required=("prompt", "chosen", "rejected"))
    if not rows:
        raise UserError(
            f"{args.preferences}: no preference pairs; see preferences.json for why, loosen pairs in the config"
        )
    policy, manifest = load_manifest(args.policy)
    require_same(source, "model", policy, manifest["fingerprint"])
    prompts = prompts_of(policy, args.params, trusted(args.params))
    data: list[dict[str, Any]] = [
        {**tokens_of(prompts, row), **weight} for row, weight in zip(rows, weights_of(rows), strict=True)
    ]
    lengths = [len(pair["prompt_ids"]) + max(len(pair["chosen_ids"]), len(pair["rejected_ids"])) for pair in data]
    checked = preflight(prompts, data, rows, lengths, dpo["max_length"], positions(policy))
    made_from = {"policy": manifest["fingerprint"], "data": fingerprint(data), "params": args.params}
    training.open_work(args.work, made_from)
    set_seed(seed)
    watch = training.Watch("DPO", dpo["alarm_logps_drop"], dpo["beta"])
    model = load_model(policy, args.params, dtype=training.dtype(args.gpus))
    trainer = PretokenizedDPOTrainer(
        model=model,
        args=DPOConfig(
            **training.arguments(dpo, args.work, args.gpus, seed, len(data), checked["longest"]),
            **named(args.tracking),
            loss_type=dpo["loss_type"],
            loss_weights=dpo["loss_weights"],
            beta=dpo["beta"],
        ),
        train_dataset=Dataset.from_list(data),
        processing_class=prompts.tokenizer,
        peft_config=training.lora_config(dpo["lora"], model),
        callbacks=[
            watch,
            *trackers(args.tracking),
            *([StepProfile(args.profile)] if args.profile and training.is_main() else []),
        ],
    )
    if "weight" in data[0]:
        collator: Any = trainer.data_collator
        trainer.data_collator = WeightedPairs(**asdict(collator))
    seconds = training.train(trainer, args.work, lengths, dpo["compile"])
    tokens = int(
        sum(2 * len(r["prompt_ids"]) + len(r["chosen_ids"]) + len(r["rejected_ids"]) for r in data) * dpo["epochs"]
    )
    record = {
        "examples": len(data),
        "seconds": seconds,
        "step_seconds": watch.step_seconds(),
        "tokens": tokens,
        "preflight": checked,
        "alarm": watch.alarm,
    }
    training.save_adapter(trainer, args.output, str(policy), record, made_from, args.card)


def tokens_of(prompts: Prompts, row: dict[str, Any]) -> dict[str, list[int]]:
    """Token ids of a pair: what was sampled, or of its texts with what ends an answer.

    Those of a calculation pair break off, so they have no end, and what they share counts as prompt.
    """
    prompt_ids, chosen_ids = ids_of(prompts, row, "chosen")
    _, rejected_ids = ids_of(prompts, row, "rejected")
    if row.get("pair_type") == CALCULATION:
        alike = [ours == theirs for ours, theirs in zip(chosen_ids[:-1], rejected_ids[:-1], strict=False)]
        shared = [*alike, False].index(False)
        prompt_ids = prompt_ids + chosen_ids[:shared]
        chosen_ids, rejected_ids = chosen_ids[shared:], rejected_ids[shared:]
    return {"prompt_ids": prompt_ids, "chosen_ids": chosen_ids, "rejected_ids": rejected_ids}


def weights_of(rows: list[dict[str, Any]]) -> list[dict[str, float]]:
    """{"weight"} of each pair, nothing where no pair has one; UserError for one that is no weight, or is missing."""
    if not any("weight" in row for row in rows):
        return [{}] * len(rows)
    for row in rows:
        weight = row.get("weight")
        if isinstance(weight, bool) or not (isinstance(weight, int | float) and 0 <= weight < math.inf):
            raise UserError(
                f"pair of question {row.get('id', '?')}: weight is {weight!r:.40}, a number of at least 0 was expected in every "
                "pair; run build_preferences again"
            )
    return [{"weight": float(row["weight"])} for row in rows]


def preflight(
    prompts: Prompts,
    data: list[dict[str, list[int]]],
    rows: list[dict[str, Any]],
    lengths: list[int],
    max_length: int | None,
    positions: int | None,
) -> dict[str, Any]:
    """Check BOS, end and lengths of every pair and print the first; UserError at the first wrong one."""
    tokenizer, bos = prompts.tokenizer, prompts.tokenizer.bos_token_id
    for row, pair in zip(rows, data, strict=True):
        where = f"pair of question {row.get('id', '?')}"
        doubled = pair["prompt_ids"][:2] == [bos, bos]
        if doubled or (prompts.encoder.adds_bos and pair["prompt_ids"][:1] != [bos]):
            raise UserError(
                f"{where}: {'2 BOS tokens begin' if doubled else 'no BOS token begins'} the prompt, 1 expected"
            )
        for side in ("chosen", "rejected"):
            ids, ended = pair[f"{side}_ids"], is_ended(row, side)
            found = [place for place, number in enumerate(ids, 1) if number in prompts.stops]
            if found != ([len(ids)] if ended else []):
                expected = "one at its end" if ended else "none"
                raise UserError(f"{where}: {side} has {len(found)} tokens that end an answer, {expected} expected")
        if pair["chosen_ids"] == pair["rejected_ids"]:
            raise UserError(f"{where}: chosen and rejected are the same text")
    top = training.longest(lengths, max_length, positions, "pairs")
    types: dict[str, int] = {}
    for row in rows:
        types[row.get("pair_type", "unknown")] = types.get(row.get("pair_type", "unknown"), 0) + 1
    checked = {
        "pairs": len(data),
        "types": types,
        "longest": top,
        "mean_length": sum(lengths) / len(lengths),
        "bos_tokens": int(data[0]["prompt_ids"][:1] == [bos]),
        "first_prompt": tokenizer.decode(data[0]["prompt_ids"]),
        "first_chosen": tokenizer.decode(data[0]["chosen_ids"]),
        "first_rejected": tokenizer.decode(data[0]["rejected_ids"]),
    }
    if training.is_main():
        log.info("DPO preflight:")
        for name, value in checked.items():
            log.info(f"  {name}: {value!r}")
    return checked


if __name__ == "__main__":
    run(main)
