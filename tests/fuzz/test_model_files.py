"""Damaged and hostile model files: a GGUF file, safetensors, an adapter's config. Each is read or ends in one line."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from guard import attempt, ends, repeatable
from hostile import values
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from tokenizers import pre_tokenizers

from regime_w.models.adapters import ADAPTER_CONFIG, ADAPTER_WEIGHTS, read_config
from regime_w.models.gguf import from_gguf
from regime_w.models.weights import check_finite, safetensors_shapes

COUNTS = [pytest.param(100, id="smoke"), pytest.param(2_000, marks=pytest.mark.fuzz, id="full")]
# As lengths and counts: nothing, one too many, and what no machine can hold.
EXTREMES = [
    number.to_bytes(8, "little") for number in (0, 1, 2, 2**16, 2**31 - 1, 2**32, 2**40, 2**63 - 1, 2**63, 2**64 - 1)
]


def damaged(whole: bytes, header: int, count: int) -> Iterator[bytes]:
    """`count` damaged copies of a file, most of them in its first `header` bytes: bits, lengths, cuts, doubled parts."""
    rng = random.Random(0)
    for number in range(count):
        made = bytearray(whole)
        for _ in range(rng.choice((1, 1, 2, 8))):
            at = rng.randrange(header if rng.random() < 0.9 else len(made))
            kind = ("bit", "extreme", "cut", "doubled", "swapped")[number % 5]
            if kind == "bit":
                made[at] ^= 1 << rng.randrange(8)
            elif kind == "extreme":
                made[at : at + 8] = rng.choice(EXTREMES)
            elif kind == "cut":
                del made[at : at + rng.choice((1, 4, 8, len(made)))]
            elif kind == "doubled":
                made[at:at] = made[at : at + rng.choice((1, 8, 64))]
            else:
                other = rng.randrange(header)
                made[at : at + 8], made[other : other + 8] = made[other : other + 8], made[at : at + 8]
            header = max(1, min(header, len(made)))
            if not made:
                break
        yield bytes(made)


def small_gguf(path: Path) -> int:
    """Write a llama of one layer; returns the bytes before its weights."""
    writer = gguf.GGUFWriter(path, "llama")
    for name, number in (
        ("block_count", 1), ("context_length", 64), ("embedding_length", 8), ("feed_forward_length", 8),
        ("attention.head_count", 2), ("attention.head_count_kv", 1), ("vocab_size", 258),
    ):  # fmt: skip
        writer.add_uint32(f"llama.{name}", number)
    writer.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
    tokens = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "<|end|>", "aa"]
    writer.add_string("tokenizer.ggml.model", "gpt2")
    writer.add_string("tokenizer.ggml.pre", "qwen2")
    writer.add_array("tokenizer.ggml.tokens", tokens)
    writer.add_array("tokenizer.ggml.token_type", [1] * 256 + [3, 1])
    writer.add_array("tokenizer.ggml.merges", ["a a"])
    writer.add_uint32("tokenizer.ggml.eos_token_id", 256)
    shapes = {"attn_q": (8, 8), "attn_k": (4, 8), "attn_v": (4, 8), "attn_output": (8, 8), "attn_norm": (8,)}
    shapes |= {"ffn_gate": (8, 8), "ffn_up": (8, 8), "ffn_down": (8, 8), "ffn_norm": (8,)}
    every = {f"blk.0.{name}": shape for name, shape in shapes.items()} | {"token_embd": (258, 8), "output_norm": (8,)}
    for name, shape in every.items():
        writer.add_tensor(f"{name}.weight", np.ones(shape, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.stat().st_size - sum(4 * int(np.prod(shape)) for shape in every.values())


@pytest.mark.parametrize("count", COUNTS)
def test_gguf_files(count: int, tmp_path: Path) -> None:
    whole, item = tmp_path / "whole.gguf", tmp_path / "item.gguf"
    header = small_gguf(whole)
    from_gguf(whole, tmp_path / "folder")
    refused = 0
    for data in damaged(whole.read_bytes(), header, count):
        item.write_bytes(data)
        with ends(data[:2_000]):
            _, why = attempt(lambda: from_gguf(item, tmp_path / "folder"))
        refused += bool(why)
    assert count / 4 < refused < count


@pytest.mark.parametrize("count", COUNTS)
def test_safetensors_files(count: int, tmp_path: Path) -> None:
    whole, item = tmp_path / "whole.safetensors", tmp_path / "item.safetensors"
    save_file(
        {"a": torch.ones(4, 4), "b.weight": torch.zeros(8, dtype=torch.bfloat16)}, whole, metadata={"format": "pt"}
    )
    header = 8 + int.from_bytes(whole.read_bytes()[:8], "little")
    refused = 0
    for data in damaged(whole.read_bytes(), header, count):
        item.write_bytes(data)
        with ends(data):
            shapes, why = attempt(lambda: safetensors_shapes(item))
            if shapes is not None:
                attempt(lambda: check_finite([item]))
        refused += bool(why)
    assert count / 4 < refused < count


KEYS = ("peft_type", "r", "lora_alpha", "target_modules", "init_lora_weights", "rank_pattern", "task_type", "bias", "x")
LORA: dict[str, Any] = {
    "peft_type": "LORA",
    "r": 8,
    "lora_alpha": 16,
    "target_modules": ["q_proj"],
    "task_type": "CAUSAL_LM",
}


@pytest.mark.parametrize("count", COUNTS)
def test_configs_of_adapters(count: int, tmp_path: Path) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / ADAPTER_WEIGHTS)
    read = 0

    @repeatable(count)
    @given(st.one_of(values, st.dictionaries(st.sampled_from(KEYS), values, max_size=3).map(lambda own: LORA | own)))
    def check(config: Any) -> None:
        nonlocal read
        (tmp_path / ADAPTER_CONFIG).write_bytes(json.dumps(config).encode("utf-8", "surrogatepass"))
        with ends(config):
            found, _ = attempt(lambda: read_config(tmp_path))
        read += found is not None

    check()
    assert 0 < read < count
