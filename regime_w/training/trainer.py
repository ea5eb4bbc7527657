"""What SFT and DPO share: launching on several GPUs, arguments, resuming, saving the adapter with its record."""

import importlib.metadata
import json
import logging
import math
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import torch
from accelerate.data_loader import SeedableRandomSampler
from peft import LoraConfig
from peft.helpers import disable_input_dtype_casting
from torch.utils.data import Sampler
from transformers import PrinterCallback, TrainerCallback
from transformers.utils.logging import disable_progress_bar

from regime_w.config.plan import micro_batch
from regime_w.models.adapters import adapted_modules
from regime_w.models.cards import card
from regime_w.models.manifests import new_artefact, write_manifest
from regime_w.runtime.compute import out_of_memory, threads
from regime_w.runtime.errors import UserError
from regime_w.runtime.progress import Progress
from regime_w.runtime.records import fingerprint, private_folder, write_json, write_text
from regime_w.training.packing import pack, why_padded

log = logging.getLogger(__name__)

SHOWN = ("loss", "learning_rate", "rewards/margins", "rewards/accuracies", "logps/chosen", "logps/rejected")
# Micro-batches of a training below which compiling does not pay: at 7B it took 14 s and saved 0.15 s each (docs/studies/speed.md).
COMPILE_PASSES = 100
PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets")


def launch(gpus: int, module: str) -> None:
    """With several GPUs, start this module again under accelerate, one process a GPU (data parallel)."""
    if gpus > 1 and "LOCAL_RANK" not in os.environ:
        command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", str(gpus)]
        command += [
            "--num_machines",
            "1",
            "--mixed_precision",
            "no",
            "--dynamo_backend",
            "no",
            "--main_process_port",
            "0",
        ]
        os.execv(sys.executable, [*command, "-m", module, *sys.argv[1:]])
    # Lengths differ from step to step: fixed segments leave gaps, and then the driver is asked for memory again and again.
    os.environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")
    torch.set_num_threads(threads())
    disable_progress_bar()


def is_main() -> bool:
    return int(os.environ.get("RANK", "0")) == 0


def lora_config(lora: dict[str, Any], model: Any) -> LoraConfig:
    """LoRA by the config section, on the model's text alone; UserError where a module is named that the model has not."""
    modules = [name for name, _ in model.named_modules()]
    parameters = [name for name, _ in model.named_parameters()]
    targets, matrices = lora["target_modules"], lora["target_parameters"]
    for key, wanted, there in (("target_modules", targets, modules), ("target_parameters", matrices, parameters)):
        for name in wanted if isinstance(wanted, list) else ():
            if not any(f".{place}".endswith(f".{name}") for place in there):
                linear = {
                    n.rpartition(".")[2] for n, module in model.named_modules() if isinstance(module, torch.nn.Linear)
                }
                known = (
                    linear if key == "target_modules" else {n.rpartition("experts.")[2] for n in there if "expert" in n}
                )
                raise UserError(
                    f"lora.{key}: the model has no {name!r}; it has {', '.join(sorted(known)) or 'none of that kind'}"
                )
    return LoraConfig(
        r=lora["r"],
        lora_alpha=lora["alpha"],
        lora_dropout=lora["dropout"],
        target_modules=targets,
        target_parameters=matrices or None,
        exclude_modules=_beside_the_text(model),
        task_type="CAUSAL_LM",
    )


def _beside_the_text(model: Any) -> str | None:
    """Pattern of the modules that are no part of the decoder, as a vision tower's, where they hold linear layers.

    Text moves none of them: their part of an adapter would stay 0, and data parallel training waits for their gradients.
    """
    decoder = next(name for name, module in model.named_modules() if module is model.get_decoder())
    head = model.get_output_embeddings()
    beside = [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and not f"{name}.".startswith(f"{decoder}.") and module is not head
    ]
    return "|".join(map(re.escape, beside)) or None


def dtype(gpus: int) -> torch.dtype:
    return torch.bfloat16 if gpus else torch.float32


def arguments(
    params: dict[str, Any], work: Path, gpus: int, seed: int, examples: int, max_length: int
) -> dict[str, Any]:
    """Keyword arguments that SFTConfig and DPOConfig share. `max_length` in tokens."""
    world = int(os.environ.get("WORLD_SIZE", max(gpus, 1)))
    micro = micro_batch(params, world)
    if micro is None:
        raise UserError(
            f"batch_size {params['batch_size']} is no multiple of what a pass takes, per_device_batch_size"
            f" {params['per_device_batch_size']} on {world} GPU(s); change one"
        )
    steps = max(1, math.ceil(math.ceil(examples / params["batch_size"]) * params["epochs"]))
    return {
        "output_dir": str(work),
        "per_device_train_batch_size": micro,
        "gradient_accumulation_steps": params["batch_size"] // (micro * world),
        "learning_rate": params["learning_rate"],
        "num_train_epochs": params["epochs"],
        "warmup_steps": int(params["warmup_ratio"] * steps),
        "lr_scheduler_type": params["scheduler"],
        "gradient_checkpointing": params["gradient_checkpointing"],
        "max_length": max_length,
        "max_grad_norm": 1.0,
        "bf16": bool(gpus),
        "use_cpu": not gpus,
        "dataloader_pin_memory": bool(gpus),
        "logging_steps": max(1, steps // 50),
        "logging_nan_inf_filter": False,
        "save_steps": params["save_steps"],
        "save_total_limit": 1,
        "disable_tqdm": True,
        "seed": seed,
        "data_seed": seed,
        "remove_unused_columns": False,
        "ddp_find_unused_parameters": False if world > 1 else None,
    }


class Watch(TrainerCallback):
    """Progress lines; stops at a NaN; alarm when the chosen log-probability falls too far, for DPO with its `beta`."""

    def __init__(self, label: str, alarm_logps_drop: float | None = None, beta: float = 1.0) -> None:
        self.label, self.alarm_logps_drop, self.beta = label, alarm_logps_drop, beta
        self.progress: Progress | None = None
        self.alarm: str | None = None
        self.ends: list[float] = []  # of steps, time.monotonic()

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if is_main():
            self.progress = Progress(state.max_steps - state.global_step, self.label, unit="steps")

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.ends.append(time.monotonic())
        if self.progress:
            self.progress.update(1)

    def step_seconds(self) -> float | None:
        """The median step's, which neither what the first ones compile nor a short last one moves; None where too few ran."""
        gaps = [later - earlier for earlier, later in pairwise(self.ends)]
        return median(gaps) if gaps else None

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.progress:
            self.progress.close()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        logs = logs or {}
        if is_main():
            shown = {name: float(logs[name]) for name in SHOWN if name in logs}
            if values := " ".join(f"{name} {value:.4g}" for name, value in shown.items()):
                log.info(f"step {state.global_step}/{state.max_steps} {values}")
        loss = logs.get("loss")
        if loss is not None and not math.isfinite(float(loss)):
            raise UserError(
                f"{self.label}: loss is {loss} at step {state.global_step}; lower learning_rate in the config"
            )
        if self.alarm is None and self.alarm_logps_drop is not None:
            # The history, since it comes back with a checkpoint: a resumed training has the same alarm.
            self.alarm = alarm_in(state.log_history, self.alarm_logps_drop, self.beta)
            if self.alarm:
                log.warning(f"ALARM: {self.alarm}")


def alarm_in(history: list[dict[str, Any]], most: float, beta: float) -> str | None:
    """The first fall of the chosen log-probability by more than `most` nats below the reference's, which is where it began.

    The chosen reward is beta times the difference of the two on the same pairs. The log-probability itself differs from step
    to step by which pairs, and how long ones, a step holds.
    """
    for entry in history:
        if "rewards/chosen" in entry and (fall := -float(entry["rewards/chosen"]) / beta) > most:
            return (
                f"the chosen log-probability was {fall:.1f} nats below its start by step {entry['step']} "
                f"(alarm_logps_drop {most:g})"
            )
    return None


class SortedSteps(Sampler[int]):
    """The Trainer's own random order, sorted by length inside each optimiser step.

    A step's micro-batches, over all GPUs, then hold sequences of like length and little padding; which examples a step
    learns from stays the same. A step of one micro-batch is left as it is.

    `lengths` in tokens, `step` in examples.
    """

    def __init__(self, lengths: Sequence[int], step: int, micro: int, seed: int) -> None:
        self.lengths, self.step, self.micro = lengths, step, micro
        self.random = SeedableRandomSampler(lengths, data_seed=seed)

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        order = list(self.random)
        for start in range(0, len(order), self.step):
            indices = order[start : start + self.step]
            if self.step > self.micro:
                indices.sort(key=self.lengths.__getitem__, reverse=True)
            yield from indices

    def set_epoch(self, epoch: int) -> None:
        self.random.set_epoch(epoch)


def compile_layers(model: Any) -> None:
    """Compile the decoder layers, each in its place; they share their code, so that one graph serves all.

    Python's share of a LoRA layer's many small kernels is gone then, and what lies between the matrix products is fused. Shapes
    are dynamic, so that lengths compile nothing again. After accelerate's regional compilation.
    """
    blocks = set(model._no_split_modules or ())
    layers = [module for module in model.modules() if type(module).__name__ in blocks]
    # A layer's floats are constants. As inputs of its graph they have torch trace it twice.
    torch._dynamo.config.specialize_float = True
    # As all other layers' inputs: the first layer's would need a graph of its own.
    model.get_input_embeddings().register_forward_hook(lambda *call: call[-1].requires_grad_(torch.is_grad_enabled()))
    for layer in layers:
        layer.compile(dynamic=True)
    if is_main():
        log.info(f"{len(layers)} layers are compiled: the first step takes longer")


def drop_attention_mask(model: Any) -> None:
    """Padding stands on the right, where causal attention never looks; flash attention takes no mask."""
    model.register_forward_pre_hook(lambda _, args, named: (args, named | {"attention_mask": None}), with_kwargs=True)


def train(trainer: Any, work: Path, lengths: Sequence[int], compiled: bool | str) -> float:
    """Train, from the newest complete checkpoint in `work` where there is one; returns seconds.

    `lengths`: tokens of each example, of its longer side where it has two. `compiled`: the setting `compile`.
    """
    start = time.monotonic()
    trainer.remove_callback(PrinterCallback)  # Watch prints what matters
    args = trainer.args
    passes = len(lengths) * args.num_train_epochs / (args.per_device_train_batch_size * args.world_size)
    if compiled == "auto":
        compiled = not args.use_cpu and not args.gradient_checkpointing and passes >= COMPILE_PASSES
    if is_main():
        log.info(adapted_modules(trainer.model))
    if compiled:
        compile_layers(trainer.model)
    if not args.use_cpu:
        reason = why_padded(trainer.model, max(lengths), "cuda")
        if reason is None:
            pack(trainer.model)
        else:
            drop_attention_mask(trainer.model)
            if is_main():
                log.info(f"Sequences are padded to the longest of their micro-batch: {reason}")
        # cuDNN's attention plans each length anew, 2 ms of CPU a layer; PyTorch's flash attention does not.
        torch.backends.cuda.enable_cudnn_sdp(False)
    step = args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size
    sampler = SortedSteps(lengths, step, args.per_device_train_batch_size, args.data_seed)
    trainer._get_train_sampler = lambda *_: sampler
    checkpoint = newest_checkpoint(work)
    if checkpoint and is_main():
        log.info(f"Resuming from {checkpoint}")
    try:
        # Autocast converts a LoRA layer's input itself; PEFT would copy it to float32 first, at every layer.
        with disable_input_dtype_casting(trainer.model):
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except torch.OutOfMemoryError as error:
        raise out_of_memory(error, "per_device_batch_size (or set gradient_checkpointing: true)") from None
    return time.monotonic() - start


def newest_checkpoint(work: Path) -> Path | None:
    """The newest checkpoint that was written to its end; the Trainer writes trainer_state.json last, and not at once."""
    complete = []
    for path in work.glob("checkpoint-*/trainer_state.json"):
        with suppress(ValueError):
            complete.append((int(json.loads(path.read_text())["global_step"]), path.parent))
    return max(complete)[1] if complete else None


def open_work(work: Path, identity: dict[str, Any]) -> None:
    """Empty the work folder unless it belongs to the same job: same inputs, parameters and versions."""
    mark = work / "fingerprint.json"
    current = fingerprint({**identity, "versions": versions()})
    if is_main() and (not mark.is_file() or json.loads(mark.read_text() or "null") != current):
        shutil.rmtree(work, ignore_errors=True)
        private_folder(work)
        write_json(mark, current)


def save_adapter(
    trainer: Any,
    output: Path,
    base: str,
    record: dict[str, Any],
    made_from: dict[str, Any],
    facts: dict[str, Any],
) -> None:
    """Write the adapter folder (weights, config, card, training.json, manifest.json) at once; `facts` are the card's."""
    if not is_main():
        return
    with new_artefact(output) as folder:
        trainer.accelerator.unwrap_model(trainer.model).save_pretrained(folder)
        config = json.loads((folder / "adapter_config.json").read_text())
        if isinstance(config["target_modules"], list):
            config["target_modules"].sort()  # PEFT writes a set: the same training gives the same file
        write_json(folder / "adapter_config.json", config | {"base_model_name_or_path": base})
        write_text(folder / "README.md", card(facts, "adapter"))
        # Without the Trainer's own counts, which start anew when it resumes: the record is the same after a kill.
        history = [
            {k: v for k, v in sorted(entry.items()) if _finite(v) and k != "num_tokens"}
            for entry in trainer.state.log_history
            if "train_runtime" not in entry
        ]
        write_json(
            folder / "training.json",
            {"log_history": history, "steps": trainer.state.global_step, "versions": versions(), **record},
        )
        write_manifest(folder, made_from)
    log.info(f"Adapter saved to {output}")


def versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in PACKAGES}


def longest(lengths: Sequence[int], max_length: int | None, positions: int | None, what: str) -> int:
    """The longest example in tokens; UserError where it exceeds `max_length`, since truncation cuts answers off, or what
    the model has positions for."""
    top = max(lengths)
    for most, name, advice in (
        (max_length, f"max_length {max_length}", "raise it or set null"),
        (positions, f"the {positions} tokens that the model has positions for", "take their questions out"),
    ):
        if most is not None and top > most:
            over = sum(n > most for n in lengths)
            raise UserError(f"{over} of {len(lengths)} {what} are longer than {name} (longest {top}); {advice}")
    return top


def _finite(value: Any) -> bool:
    return not isinstance(value, float) or math.isfinite(value)
