"""transformers, batched: left padding, KV cache, one random stream a request; runs on CPU and GPU.

A request's samples come from its own generator (Philox, seeded by the request), by inverse transform of the
top-p distribution, so that they do not depend on which requests share its batch. Finished rows leave the batch.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoTokenizer, DynamicCache
from transformers.utils.logging import disable_progress_bar

from regime_w.models.folders import load_model, trusted
from regime_w.runtime.compute import out_of_memory, threads
from regime_w.sampling.engines.interface import Completion, Request, text_of
from regime_w.tasks.prompts import end_ids


@contextmanager
def open_transformers(model: Path, params: dict[str, Any], gpus: int) -> Iterator["TransformersEngine"]:
    torch.set_num_threads(threads())
    disable_progress_bar()
    try:
        yield TransformersEngine(model, params, "cuda" if gpus else "cpu")
    except torch.OutOfMemoryError as error:
        raise out_of_memory(error, "engine.transformers.batch_size") from None


class TransformersEngine:
    def __init__(self, folder: Path, params: dict[str, Any], device: str) -> None:
        self.folder, self.params, self.device = folder, params, device
        self.batch_size = 1 if params["mode"] == "one_at_a_time" else params["batch_size"]
        self.model: Any = None

    def load(self, max_model_len: int) -> None:
        dtype = torch.float32 if self.device == "cpu" else torch.bfloat16
        self.model = load_model(self.folder, self.params, dtype=dtype, device_map={"": self.device}).eval()
        self.tokenizer: Any = AutoTokenizer.from_pretrained(self.folder, **trusted(self.params))
        self.ends = end_ids(self.tokenizer, self.folder)

    def switch(self, model: Path) -> None:
        self.folder = model
        if self.model is not None:
            self.model = None  # two do not always fit
            self.load(0)

    def generate(self, requests: Sequence[Request]) -> Iterator[Completion]:
        """Yield completions batch by batch, requests of like prompt length together."""
        order = sorted(requests, key=lambda request: len(request.prompt_ids))
        for start in range(0, len(order), self.batch_size):
            yield from self._batch(order[start : start + self.batch_size])

    @torch.inference_mode()
    def _batch(self, batch: Sequence[Request]) -> Iterator[Completion]:
        device = self.model.device
        longest = max(len(request.prompt_ids) for request in batch)
        limit = max(request.max_new_tokens for request in batch)
        pad = self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else 0
        ends = set(self.ends).union(*(request.stop_ids for request in batch))
        end_ids = torch.tensor(sorted(ends), device=device)
        ids = torch.full((len(batch), longest), pad, device=device)
        mask = torch.zeros((len(batch), longest), dtype=torch.long, device=device)
        for row, request in enumerate(batch):
            ids[row, longest - len(request.prompt_ids) :] = torch.tensor(request.prompt_ids, device=device)
            mask[row, longest - len(request.prompt_ids) :] = 1
        uniforms = torch.from_numpy(np.stack([_uniforms(r.seed, limit) for r in batch])).to(device)
        temperatures = torch.tensor([request.temperature for request in batch], device=device)
        top_ps = torch.tensor([request.top_p for request in batch], device=device)
        limits = torch.tensor([request.max_new_tokens for request in batch], device=device)
        generated = torch.full((len(batch), limit), pad, device=device)
        rows = torch.arange(len(batch), device=device)  # batch rows still running, as indices into `batch`
        positions = mask.cumsum(1) - 1
        cache = DynamicCache(config=self.model.config)
        step_ids, step_positions = ids, positions.clamp(min=0)
        for step in range(limit):
            logits = self.model(
                input_ids=step_ids,
                attention_mask=mask,
                position_ids=step_positions,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            ).logits[:, -1]
            tokens = sample(logits, temperatures[rows], top_ps[rows], uniforms[rows, step])
            generated[rows, step] = tokens
            ended = torch.isin(tokens, end_ids)
            texts = self._stopped(batch, rows, generated, step)
            done = ended | (limits[rows] <= step + 1) | texts
            if done.any():
                for index, row in enumerate(rows.tolist()):
                    if done[index]:
                        reason = "stop" if ended[index] or texts[index] else "length"
                        made = tuple(generated[row, : step + 1].tolist())
                        text = text_of(self.tokenizer, made, ends, batch[row].stop)
                        yield Completion(batch[row].key, text, made, reason)
                keep = (~done).nonzero().squeeze(1)
                if not len(keep):
                    return
                rows, tokens, mask, step_positions = rows[keep], tokens[keep], mask[keep], step_positions[keep]
                # Of every kind of layer; batch_select_indices is of attention's alone.
                cache.reorder_cache(keep)  # type: ignore[arg-type]
            mask = torch.cat([mask, mask.new_ones((len(rows), 1))], dim=1)
            step_ids, step_positions = tokens[:, None], step_positions[:, -1:] + 1

    def _stopped(
        self, batch: Sequence[Request], rows: torch.Tensor, generated: torch.Tensor, step: int
    ) -> torch.Tensor:
        """Whether a stop text is in each running row's last tokens."""
        if not any(request.stop for request in batch):
            return torch.zeros(len(rows), dtype=torch.bool, device=rows.device)
        tails = self.tokenizer.batch_decode(generated[rows, max(0, step - 15) : step + 1])
        found = [any(stop in tail for stop in batch[row].stop) for row, tail in zip(rows.tolist(), tails, strict=True)]
        return torch.tensor(found, device=rows.device)


def sample(
    logits: torch.Tensor, temperatures: torch.Tensor, top_ps: torch.Tensor, uniforms: torch.Tensor
) -> torch.Tensor:
    """Token ids (rows,) from logits (rows, vocabulary): the arg max at temperature 0, else inverse-transform sampling
    of the nucleus (Holtzman et al. 2020) with one uniform number a row."""
    greedy = logits.argmax(-1)
    if not (temperatures > 0).any():
        return greedy
    scaled = logits.float() / temperatures.clamp(min=1e-6)[:, None]
    probabilities, order = ranked(scaled.softmax(-1))
    cumulative = probabilities.cumsum(-1)
    # A token is in the nucleus while the mass before it is below top_p.
    kept = probabilities * (cumulative - probabilities < top_ps[:, None])
    cumulative = kept.cumsum(-1)
    picks = torch.searchsorted(cumulative, (uniforms * cumulative[:, -1])[:, None]).clamp(max=logits.shape[-1] - 1)
    sampled = order.gather(-1, picks).squeeze(-1)
    return torch.where(temperatures > 0, sampled, greedy)


def ranked(probabilities: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Each row's probabilities, the highest first, and the tokens that they are of.

    On a CPU numpy sorts them as integers, a probability's bits before the token's: in a quarter of torch's time.
    """
    if probabilities.device.type != "cpu":
        return probabilities.sort(-1, descending=True)
    tokens = np.arange(probabilities.shape[-1] - 1, -1, -1, dtype=np.int64)
    keys = probabilities.numpy().view(np.int32).astype(np.int64) << 32 | tokens
    keys.sort(axis=-1)
    keys = keys[:, ::-1]
    bits, order = (keys >> 32).astype(np.int32), probabilities.shape[-1] - 1 - (keys & 0xFFFFFFFF)
    return torch.from_numpy(bits.view(np.float32)), torch.from_numpy(order)


def _uniforms(seed: int, n: int) -> np.ndarray:
    return np.random.Generator(np.random.Philox(seed)).random(n, dtype=np.float32)
