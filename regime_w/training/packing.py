"""Decoder layers without padding: a micro-batch's sequences stand end to end in one row, each attends to itself alone.

    if (reason := why_padded(model, longest, "cuda")) is None:
        pack(model)    # a (PEFT) model; what it takes and gives stays padded

Padding costs as much as text in every matrix product; attention by sequence lengths is PyTorch's flash attention
(Dao 2023, arXiv 2307.08691) on a GPU, and a loop over the sequences elsewhere. Capped scores (Gemma 2) are none of its
kernels: there attention alone is padded.
"""

from itertools import pairwise
from typing import Any

import torch
from torch.nn import functional
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

NAME = "packed"
# Types whose attention is causal, within a window or not, with capped scores or not, and nothing else.
PACKED = frozenset({
    "gemma", "gemma2", "gemma3_text", "granite", "llama", "mistral", "mixtral", "olmo", "olmo2", "phi3", "qwen2",
    "qwen2_moe", "qwen3", "qwen3_moe", "smollm3", "starcoder2",
})  # fmt: skip


def why_padded(model: Any, longest: int, device: str) -> str | None:
    """Why `pack` does not serve for a model and sequences of up to `longest` tokens on a device; None where it does."""
    config = model.config
    if config.model_type not in PACKED:
        return f"the attention of a {config.model_type} is not known here"
    if getattr(config, "attention_dropout", 0.0):
        return "it has attention_dropout"
    if getattr(config, "use_bidirectional_attention", False):
        return "its attention is not causal"
    window = getattr(config, "sliding_window", None)
    if window and window < longest and not windows_hold(device):
        return f"sequences are longer than the model's window of {window}, and torch's attention here knows none"
    return None


@torch.no_grad()
def windows_hold(device: str) -> bool:
    """Whether attention on a device keeps to a window: builds of torch differ, and one might leave it out without a word."""
    states = torch.randn(3, 1, 2, 40, 32, generator=torch.Generator().manual_seed(0)).to(device, torch.bfloat16)
    ends = torch.tensor([0, 33, 40], dtype=torch.int32, device=device)
    try:
        found, _ = attend(None, states[0], states[1], states[2], None, ends, 33, None, None, sliding_window=3)
    except (RuntimeError, TypeError):
        return False
    for start, end in ((0, 33), (33, 40)):
        q, k, v = states[..., start:end, :].float()
        seen = _seen(end - start, 3, q.device)
        expected = functional.scaled_dot_product_attention(q, k, v, attn_mask=seen).transpose(1, 2)
        if not torch.allclose(found[:, start:end].float(), expected, atol=0.05):
            return False
    return True


def pack(model: Any) -> None:
    """Let the decoder of `model` drop padding before its first layer and put it back after its last, where it is 0.

    Padding is on the right, and the attention mask says where.
    """
    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, lambda *_, **__: None)
    decoder = model.get_decoder()
    decoder.config._attn_implementation = NAME
    padded = decoder.forward
    last: dict[str, Any] = {"mask": None}  # DPO's two passes, policy and reference, share a mask

    def forward(input_ids: torch.Tensor, attention_mask: torch.Tensor, position_ids: Any = None, **named: Any) -> Any:
        if last["mask"] is not attention_mask:
            last.update(mask=attention_mask, layout=layout(attention_mask))
        kept, positions, lengths = last["layout"]
        out = padded(input_ids=input_ids.flatten()[kept][None], position_ids=positions[None], **lengths, **named)
        hidden = out.last_hidden_state[0]
        rows = hidden.new_zeros(attention_mask.numel(), hidden.shape[-1]).index_copy(0, kept, hidden)
        out.last_hidden_state = rows.view(*attention_mask.shape, -1)
        return out

    decoder.forward = forward


def layout(mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, dict[str, Any]]:
    """Of a mask (batch, tokens): indices of the tokens in the flat batch, their positions, where sequences end."""
    lengths = mask.sum(1)
    kept = mask.flatten().nonzero().flatten()
    positions = (mask.long().cumsum(1) - 1).flatten()[kept]
    ends = functional.pad(lengths.cumsum(0), (1, 0)).int()
    named = {"cu_seq_lens_q": ends, "max_length_q": int(lengths.max()), "padded_mask": mask, "places": kept}
    return kept, positions, named


def attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: None,
    cu_seq_lens_q: torch.Tensor,
    max_length_q: int,
    padded_mask: torch.Tensor | None,
    places: torch.Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention within each sequence of a row; (1, heads, tokens, width) to (1, tokens, heads, width).

    `sliding_window`: tokens that one sees, itself included. `softcap`: scores s become softcap * tanh(s / softcap).
    """
    window = sliding_window if sliding_window and sliding_window < max_length_q else None
    if softcap:
        return _capped(query, key, value, padded_mask, places, scaling, window, softcap), None
    if query.is_cuda:
        q, k, v = (states[0].transpose(0, 1).contiguous() for states in (query, key, value))
        near = {"window_size_left": window - 1, "window_size_right": 0} if window else {}
        # PyTorch's own varlen_attn takes this operator; its signature differs from one version to the next.
        out = torch.ops.aten._flash_attention_forward(
            q, k, v, cu_seq_lens_q, cu_seq_lens_q, max_length_q, max_length_q, 0.0, True, False, scale=scaling, **near
        )[0]
        return out[None], None
    each = []
    for start, end in pairwise(cu_seq_lens_q.tolist()):
        q, k, v = (states[:, :, start:end] for states in (query, key, value))
        seen = _seen(end - start, window, q.device) if window else None
        out = functional.scaled_dot_product_attention(
            q, k, v, attn_mask=seen, is_causal=seen is None, scale=scaling, enable_gqa=True
        )
        each.append(out)
    return torch.cat(each, dim=2).transpose(1, 2), None


def _capped(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: Any,
    places: Any,
    scaling: float | None,
    window: int | None,
    softcap: float,
) -> torch.Tensor:
    """`attend` with padded states: what a position past its sequence's end sees goes nowhere."""

    def padded(states: torch.Tensor) -> torch.Tensor:
        """(1, heads, tokens, width) to (batch, heads, longest, width), as many heads as the query has."""
        flat = states[0].transpose(0, 1)
        rows = flat.new_zeros(mask.numel(), *flat.shape[1:]).index_copy(0, places, flat)
        rows = rows.view(*mask.shape, *flat.shape[1:]).transpose(1, 2)
        return rows.repeat_interleave(query.shape[1] // states.shape[1], dim=1)

    q, k, v = padded(query), padded(key), padded(value)
    scores = q @ k.mT * (q.shape[-1] ** -0.5 if scaling is None else scaling)
    scores = (scores / softcap).tanh() * softcap
    scores = scores.masked_fill(~_seen(q.shape[2], window, q.device), float("-inf"))
    out = scores.softmax(-1, dtype=torch.float32).to(v.dtype) @ v
    return out.transpose(1, 2).flatten(0, 1)[places][None]


def _seen(length: int, window: int | None, device: torch.device) -> torch.Tensor:
    """(length, length): whether a token, the row, sees another."""
    position = torch.arange(length, device=device)
    before = position[:, None] - position
    return (before >= 0) & (before < (window or length))
