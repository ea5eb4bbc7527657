"""Decoder layers without padding: a micro-batch's sequences stand end to end in one row, each attends to itself alone.

    pack(model)    # a (PEFT) model of a type in PACKED; what it takes and gives stays padded

Padding costs as much as text in every matrix product; attention by sequence lengths is PyTorch's flash attention
(Dao 2023, arXiv 2307.08691) on a GPU, and a loop over the sequences elsewhere.
"""

from itertools import pairwise
from typing import Any

import torch
from torch.nn import functional
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

NAME = "packed"
# Types whose attention is causal and nothing else; a sliding window counts where no sequence outgrows it.
PACKED = frozenset({"llama", "mistral", "qwen2", "qwen3"})


def packs(model: Any, longest: int) -> bool:
    """Whether `pack` knows the model's attention, for sequences of up to `longest` tokens."""
    config = model.config
    window = getattr(config, "sliding_window", None)
    return (
        config.model_type in PACKED
        and not getattr(config, "attention_dropout", 0.0)
        and (window is None or longest <= window)
    )


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
    return kept, positions, {"cu_seq_lens_q": ends, "max_length_q": int(lengths.max())}


def attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: None,
    cu_seq_lens_q: torch.Tensor,
    max_length_q: int,
    scaling: float | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention within each sequence of a row; (1, heads, tokens, width) to (1, tokens, heads, width)."""
    if query.is_cuda:
        q, k, v = (states[0].transpose(0, 1).contiguous() for states in (query, key, value))
        # PyTorch's own varlen_attn takes this operator; its signature differs from one version to the next.
        out = torch.ops.aten._flash_attention_forward(
            q, k, v, cu_seq_lens_q, cu_seq_lens_q, max_length_q, max_length_q, 0.0, True, False, scale=scaling
        )[0]
        return out[None], None
    each = []
    for start, end in pairwise(cu_seq_lens_q.tolist()):
        q, k, v = (states[:, :, start:end] for states in (query, key, value))
        each.append(functional.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scaling, enable_gqa=True))
    return torch.cat(each, dim=2).transpose(1, 2), None
