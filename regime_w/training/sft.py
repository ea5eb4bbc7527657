"""Supervised fine-tuning with LoRA (TRL SFTTrainer), on rationales or on the policy's own samples."""

import argparse
import logging
from pathlib import Path
from typing import Any

from regime_w.models.folders import load_model, positions
from regime_w.training import trainer as training
from regime_w.training.tracking import named, trackers

log = logging.getLogger(__name__)


def example(prompt_ids: list[int], completion_ids: list[int]) -> dict[str, list[int]]:
    """Ids to train on; the labels are -100 on the prompt."""
    return {"input_ids": prompt_ids + completion_ids, "labels": [-100] * len(prompt_ids) + completion_ids}


def train(
    args: argparse.Namespace,
    label: str,
    settings: dict[str, Any],
    model: Path,
    tokenizer: Any,
    data: list[dict[str, list[int]]],
    seed: int,
    made_from: dict[str, Any],
) -> None:
    """Train a LoRA adapter of `model` on the examples; `settings` is the config section, `args` has work, output, gpus,
    card and tracking."""
    from datasets import Dataset
    from transformers import set_seed
    from trl import SFTConfig, SFTTrainer

    lengths = [len(row["input_ids"]) for row in data]
    max_length = training.longest(lengths, settings["max_length"], positions(model), f"{label} examples")
    training.open_work(args.work, made_from)
    set_seed(seed)
    watch = training.Watch(label)
    if training.is_main():
        log.info(f"{label}: {len(data)} examples, longest {max_length} tokens")
        log.info(f"First example: {tokenizer.decode(data[0]['input_ids'])!r}")
    loaded = load_model(model, args.params, dtype=training.dtype(args.gpus))
    trainer = SFTTrainer(
        model=loaded,
        args=SFTConfig(
            **training.arguments(settings, args.work, args.gpus, seed, len(data), max_length),
            **named(args.tracking),
            dataset_kwargs={"skip_prepare_dataset": True},
        ),
        train_dataset=Dataset.from_list(data),
        processing_class=tokenizer,
        peft_config=training.lora_config(settings["lora"], loaded),
        callbacks=[watch, *trackers(args.tracking)],
    )
    seconds = training.train(trainer, args.work, lengths, settings["compile"])
    tokens = int(sum(lengths) * settings["epochs"])
    record = {"examples": len(data), "seconds": seconds, "tokens": tokens, "alarm": watch.alarm}
    training.save_adapter(trainer, args.output, str(model), record, made_from, args.card)
