"""A small Llama trained from scratch on generated word problems: the demo's base model, made in minutes on two CPU cores.

    training = build(Path("base"), params, seed=0, threads=2, work=Path("base.work"))

`params` are the config section `base_model.tiny`. Hidden matrices are trained with Muon, all other weights with AdamW.
A killed run goes on from its last checkpoint in `work`, to the same weights.
"""

import itertools
import json
import logging
import math
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Regex, pre_tokenizers
from torch import Tensor
from torch.nn import functional as F
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from regime_w.models import tokenizer as bpe_tokenizer
from regime_w.questions.synthetic import pretraining_text
from regime_w.runtime.errors import UserError
from regime_w.runtime.progress import Progress
from regime_w.runtime.records import fingerprint, private_folder

log = logging.getLogger(__name__)

# Single digits, so that sums can be done place by place; words with the space before, punctuation with the space after.
PIECES = r"\d| ?[A-Za-z]+|[^\sA-Za-z\d]+\s*|\s"
TOKENIZER_DOCUMENTS = 3000
# Questions are drawn at random and cannot be foreseen: the loss looks chiefly at solutions.
GIVEN_WEIGHT = 0.1
WARMUP_STEPS, FINAL_SHARE, CLIP, WEIGHT_DECAY = 50, 0.03, 1.0, 0.05
CHECKPOINT_SECONDS = 20.0
# Muon (Jordan 2024, https://kellerjordan.github.io/posts/muon/): momentum, coefficients and steps of the iteration.
MOMENTUM, NEWTON_SCHULZ, ITERATIONS = 0.95, (3.4445, -4.7750, 2.0315), 5


class Muon(torch.optim.Optimizer):
    """Muon in float32, matrices of one shape in one batch: torch's own works in bfloat16, slow on many CPUs."""

    def __init__(self, parameters: Iterable[Tensor], lr: float) -> None:
        super().__init__(list(parameters), {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            shapes: dict[tuple[int, ...], list[Tensor]] = {}
            for parameter in group["params"]:
                shapes.setdefault(tuple(sorted(parameter.shape)), []).append(parameter)
            for parameters in shapes.values():
                self._update(parameters, group["lr"])

    def _update(self, parameters: list[Tensor], lr: float) -> None:
        updates = []
        for parameter in parameters:
            state, gradient = self.state[parameter], parameter.grad
            if gradient is None:
                raise ValueError("a parameter without gradient")
            if "momentum" not in state:
                state["momentum"] = torch.zeros_like(parameter)
            state["momentum"].lerp_(gradient, 1 - MOMENTUM)
            updates.append(gradient.lerp(state["momentum"], MOMENTUM))  # Nesterov
        wide = [u if u.shape[0] <= u.shape[1] else u.T for u in updates]
        for parameter, update in zip(parameters, orthogonalise(torch.stack(wide)), strict=True):
            rows, columns = parameter.shape
            parameter.mul_(1 - lr * WEIGHT_DECAY)
            parameter.add_(update if rows <= columns else update.T, alpha=-lr * math.sqrt(max(1.0, rows / columns)))


def orthogonalise(matrices: Tensor) -> Tensor:
    """The nearest semi-orthogonal matrices, roughly, of (batch, rows <= columns) ones, by Newton-Schulz iteration."""
    a, b, c = NEWTON_SCHULZ
    x = matrices / (matrices.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


def build(folder: Path, params: dict[str, Any], seed: int, threads: int, work: Path | None = None) -> dict[str, Any]:
    """Train tokenizer and model and save them to `folder` in Hugging Face form.

    Returns steps, tokens, seconds, losses (nats a token, of the weighted loss) as [step, loss] pairs, and weights' count.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    start = time.monotonic()
    tokenizer = train_tokenizer(params["vocab_size"], seed)
    model = new_model(params, tokenizer)
    tokens, weights = training_data(tokenizer, params, seed)
    log.info(
        f"Tiny model: {model.num_parameters():,} weights, vocabulary {len(tokenizer)}, {params['steps']} steps of "
        f"{params['batch_size']} x {params['sequence_length']} tokens"
    )
    identity = fingerprint({"params": params, "seed": seed, "torch": torch.__version__, "data": int(tokens.sum())})
    losses = train(model, tokens, weights, params, work / "state.pt" if work else None, identity)
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    training = {
        "weights": model.num_parameters(),
        "steps": params["steps"],
        "tokens": tokens.numel(),
        "seconds": round(time.monotonic() - start, 1),
        "losses": losses,
    }
    (folder / "README.md").write_text(_card(training), encoding="utf-8")
    return training


def train_tokenizer(vocab_size: int, seed: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE of about `vocab_size` tokens; a text gets one BOS in front, digits stay single."""
    splitting = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    texts = ("".join(map("".join, document)) for document in pretraining_text(TOKENIZER_DOCUMENTS, seed))
    return bpe_tokenizer.train(texts, splitting, vocab_size)


def new_model(params: dict[str, Any], tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=params["hidden_size"],
        intermediate_size=params["intermediate_size"],
        num_hidden_layers=params["num_layers"],
        num_attention_heads=params["num_heads"],
        num_key_value_heads=params["num_heads"],
        max_position_embeddings=params["max_position_embeddings"],
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(
        bos_token_id=config.bos_token_id, eos_token_id=config.eos_token_id, pad_token_id=config.pad_token_id
    )
    return model


def training_data(tokenizer: PreTrainedTokenizerFast, params: dict[str, Any], seed: int) -> tuple[Tensor, Tensor]:
    """Packed documents as token ids and loss weights, both (steps * batch, sequence length + 1)."""
    length = params["sequence_length"] + 1
    sequences = params["steps"] * params["batch_size"]
    ids: list[int] = []
    weights: list[float] = []
    for parts in _token_ids(tokenizer, seed):
        ids.append(tokenizer.bos_token_id)
        weights.append(GIVEN_WEIGHT)
        for number, part in enumerate(parts):
            ids += part
            weights += [1.0 if number % 2 else GIVEN_WEIGHT] * len(part)
        ids.append(tokenizer.eos_token_id)
        weights.append(1.0)
        if len(ids) >= sequences * length:
            break
    shape = (sequences, length)
    return (
        torch.from_numpy(np.array(ids[: sequences * length], dtype=np.int64).reshape(shape)),
        torch.from_numpy(np.array(weights[: sequences * length], dtype=np.float32).reshape(shape)),
    )


def _token_ids(tokenizer: PreTrainedTokenizerFast, seed: int) -> Iterator[list[list[int]]]:
    """Token ids of the documents' parts, given and wanted ones in turn."""
    documents = pretraining_text(2**62, seed)
    while chunk := list(itertools.islice(documents, 1000)):
        texts = [[text for pair in document for text in pair] for document in chunk]
        encoded = iter(tokenizer([text for own in texts for text in own], add_special_tokens=False)["input_ids"])
        for own in texts:
            yield list(itertools.islice(encoded, len(own)))


def train(
    model: LlamaForCausalLM,
    tokens: Tensor,
    weights: Tensor,
    params: dict[str, Any],
    state_file: Path | None,
    identity: str,
) -> list[list[float]]:
    """Train in place, from `state_file` where it belongs to this very training; returns [step, mean loss] pairs."""
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    optimisers: list[tuple[torch.optim.Optimizer, float]] = [
        (Muon(matrices, params["muon_lr"]), params["muon_lr"]),
        (
            torch.optim.AdamW(others, params["adamw_lr"], betas=(0.9, 0.95), weight_decay=WEIGHT_DECAY, fused=True),
            params["adamw_lr"],
        ),
    ]
    steps, size = params["steps"], params["batch_size"]
    losses: list[float] = []
    if state_file and state_file.is_file():
        losses = _restore(state_file, identity, model, [o for o, _ in optimisers])
    progress = Progress(steps - len(losses), "Tiny model", unit="steps")
    saved = time.monotonic()
    model.train()
    for step in range(len(losses), steps):
        for optimiser, lr in optimisers:
            optimiser.param_groups[0]["lr"] = lr * _schedule(step, steps)
        batch = slice(step * size, (step + 1) * size)
        loss = weighted_loss(model, tokens[batch], weights[batch])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        for optimiser, _ in optimisers:
            optimiser.step()
        model.zero_grad(set_to_none=True)
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            raise UserError(
                f"tiny model: loss is {losses[-1]} at step {step}; lower base_model.tiny.muon_lr and adamw_lr"
            )
        progress.update(1, size * params["sequence_length"])
        if state_file and (step + 1 == steps or time.monotonic() - saved > CHECKPOINT_SECONDS):
            _save(state_file, identity, model, [o for o, _ in optimisers], losses)
            saved = time.monotonic()
    progress.close()
    every = max(1, steps // 25)
    return [[min(i + every, steps), round(float(np.mean(losses[i : i + every])), 4)] for i in range(0, steps, every)]


def weighted_loss(model: LlamaForCausalLM, tokens: Tensor, weights: Tensor) -> Tensor:
    """Mean cross entropy (nats) of the next token, weighted; `tokens` and `weights` are (batch, length + 1)."""
    logits = model(input_ids=tokens[:, :-1], use_cache=False).logits
    each = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none")
    own = weights[:, 1:].flatten()
    return (each * own).sum() / own.sum()


def _schedule(step: int, steps: int) -> float:
    """Linear warm-up, then a cosine down to FINAL_SHARE."""
    warmup = min(WARMUP_STEPS, max(1, steps // 4))
    if step < warmup:
        return (step + 1) / warmup
    return FINAL_SHARE + (1 - FINAL_SHARE) * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def _save(
    file: Path, identity: str, model: torch.nn.Module, optimisers: list[torch.optim.Optimizer], losses: list[float]
) -> None:
    private_folder(file.parent)
    partial = file.with_suffix(".partial")
    state = {
        "identity": identity,
        "model": model.state_dict(),
        "optimisers": [optimiser.state_dict() for optimiser in optimisers],
        "losses": losses,
    }
    torch.save(state, partial)
    os.replace(partial, file)


def _restore(file: Path, identity: str, model: torch.nn.Module, optimisers: list[torch.optim.Optimizer]) -> list[float]:
    """Load a checkpoint of this training; returns its losses, none where the file is another's or not readable."""
    try:
        state = torch.load(file, weights_only=True)
    except Exception as error:  # torch raises pickle, zip and runtime errors for a damaged file
        log.info(f"{file}: not readable ({str(error).splitlines()[0]:.80}); starting anew")
        return []
    if state.get("identity") != identity:
        log.info(f"{file}: of another training; starting anew")
        return []
    model.load_state_dict(state["model"])
    for optimiser, own in zip(optimisers, state["optimisers"], strict=True):
        optimiser.load_state_dict(own)
    log.info(f"Resuming at step {len(state['losses'])} from {file}")
    return list(state["losses"])


def _card(training: dict[str, Any]) -> str:
    # No times: the same training gives the same files.
    shown = {key: training[key] for key in ("weights", "steps", "tokens")}
    return (
        "---\nlicense: apache-2.0\nlibrary_name: transformers\nlanguage: en\n---\n\n# Tiny Llama for word problems\n\n"
        "Trained from scratch on generated text (regime_w/questions/synthetic.py); a stand-in for a real base model, of no "
        f"use beyond this pipeline.\n\n```json\n{json.dumps(shown)}\n```\n"
    )
