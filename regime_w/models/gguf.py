"""A GGUF file as a Hugging Face folder in bfloat16, with the file's own token ids, chat template and rope.

    from_gguf(Path("qwen2.5-1.5b-instruct-q4_k_m.gguf"), Path("base"))

The format is described in ggml's docs/gguf.md, the names and what converters do to the weights in llama.cpp's
convert_hf_to_gguf.py. What the folder could not keep is refused.
"""

import logging
import re
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from gguf import GGUFReader, dequantize
from safetensors.torch import save_file

from regime_w.models.folders import INDEX
from regime_w.models.gguf_tokenizer import special_ids, tokenizer_of
from regime_w.runtime.compute import threads
from regime_w.runtime.errors import UserError
from regime_w.runtime.progress import Progress
from regime_w.runtime.records import write_json

log = logging.getLogger(__name__)

HINT = "use the model's Hugging Face folder instead (base_model.source: hub or local)"
SHARD_BYTES = 2_000_000_000
GROUP_ROWS = 16  # rows that one numpy call dequantises, times those that gguf takes itself
ROPE_FREQS, ROPE_LONG, ROPE_SHORT = "rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"
# Llama 3's scaling: wavelengths over 8192 / 1 tokens are stretched in whole, those under 8192 / 4 not at all.
LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}

TOP = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
BLOCK = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_qkv": "self_attn.qkv_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
GEMMA = BLOCK | {
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
# {} is the expert's number.
MIXTRAL = BLOCK | {
    "ffn_gate_inp": "block_sparse_moe.gate",
    "ffn_gate_exps": "block_sparse_moe.experts.{}.w1",
    "ffn_down_exps": "block_sparse_moe.experts.{}.w2",
    "ffn_up_exps": "block_sparse_moe.experts.{}.w3",
}
QWEN_MOE = BLOCK | {
    "ffn_gate_inp": "mlp.gate",
    "ffn_gate_exps": "mlp.experts.{}.gate_proj",
    "ffn_up_exps": "mlp.experts.{}.up_proj",
    "ffn_down_exps": "mlp.experts.{}.down_proj",
    "ffn_gate_inp_shexp": "mlp.shared_expert_gate",
    "ffn_gate_shexp": "mlp.shared_expert.gate_proj",
    "ffn_up_shexp": "mlp.shared_expert.up_proj",
    "ffn_down_shexp": "mlp.shared_expert.down_proj",
}
NAMES = {
    "llama": BLOCK,
    "mistral": BLOCK,
    "mixtral": MIXTRAL,
    "qwen2": BLOCK,
    "qwen2_moe": QWEN_MOE,
    "qwen3": BLOCK,
    "qwen3_moe": QWEN_MOE,
    "gemma2": GEMMA,
    "gemma3_text": GEMMA,
    "phi3": BLOCK | {"ffn_up": "mlp.gate_up_proj"},
}
# The file's architecture, and transformers' type of it; a llama may be a mistral or mixtral.
TYPES = {
    "llama": "llama",
    "qwen2": "qwen2",
    "qwen2moe": "qwen2_moe",
    "qwen3": "qwen3",
    "qwen3moe": "qwen3_moe",
    "gemma2": "gemma2",
    "gemma3": "gemma3_text",
    "phi3": "phi3",
}
KEYS = {
    "block_count": "num_hidden_layers",
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "attention.sliding_window": "sliding_window",
    "attn_logit_softcapping": "attn_logit_softcapping",
    "final_logit_softcapping": "final_logit_softcapping",
    "expert_count": "num_experts",
    "expert_used_count": "num_experts_per_tok",
    "expert_feed_forward_length": "moe_intermediate_size",
    "expert_shared_feed_forward_length": "shared_expert_intermediate_size",
}
# Read apart, or of no effect on what the model computes.
OTHER_KEYS = frozenset({
    "vocab_size", "attention.key_length", "attention.value_length", "rope.freq_base", "rope.dimension_count",
    "rope.scaling.type", "rope.scaling.factor", "rope.scaling.original_context_length", "rope.scaling.attn_factor",
    "rope.scaling.finetuned", "tensor_data_layout",
})  # fmt: skip


class Source(NamedTuple):
    """One tensor of the folder and where it comes from."""

    name: str  # in the folder
    tensor: Any  # of the reader
    expert: int | None  # its part of a tensor that holds all experts


class Reader(GGUFReader):
    """Reads the header without numpy's memmap in each of its million small slices, which took four times as long."""

    data: Any

    def _get(self, *args: Any, **named: Any) -> Any:
        if isinstance(self.data, np.memmap):
            self.data = self.data.view(np.ndarray)
        return super()._get(*args, **named)


def from_gguf(file: Path, folder: Path) -> None:
    """Write the file's model to `folder`; UserError where it is no whole GGUF file, or holds what would be lost."""
    from transformers import GenerationConfig

    log.info(f"Reading {file} ...")
    reader = open_gguf(file)
    fields = {name: field.contents() for name, field in reader.fields.items()}
    if "tokenizer.ggml.tokens" not in fields:
        raise UserError(f"{file}: holds no tokenizer; {HINT}")
    if "tokenizer.ggml.eos_token_id" not in fields:
        raise UserError(f"{file}: names no EOS token, so that no completion would end; {HINT}")
    try:
        config = config_of(fields, {tensor.name: tensor for tensor in reader.tensors})
        tokenizer = tokenizer_of(fields)
        sources = list(sources_of(reader.tensors, config))
    except UserError as error:
        raise UserError(f"{file}: {error}; {HINT}") from None
    config.save_pretrained(folder)
    ids = special_ids(fields)
    ends = [ids[name] for name in ("eos", "eot", "eom") if name in ids]
    GenerationConfig(
        bos_token_id=ids.get("bos"),
        eos_token_id=ends[0] if len(set(ends)) == 1 else list(dict.fromkeys(ends)) or None,
        pad_token_id=ids.get("padding"),
    ).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_weights(file, sources, config, folder)


def open_gguf(file: Path) -> GGUFReader:
    """The file's header and where its tensors are; UserError where it is cut short or no GGUF file."""
    if not file.is_file():
        raise UserError(f"base_model.path: {file} is no file; give a GGUF file")
    with open(file, "rb") as start:
        if start.read(4) != b"GGUF":
            raise UserError(
                f"{file}: is no GGUF file (it does not begin with GGUF); give one, or set base_model.source"
            )
    try:
        reader = Reader(file)
    except (IndexError, KeyError, OverflowError, TypeError, UnicodeError, ValueError) as error:
        raise UserError(f"{file}: is cut short or damaged ({error}); fetch it again") from None
    parts = reader.fields.get("split.count")
    if parts and parts.contents() > 1:
        raise UserError(f"{file}: is one of {parts.contents()} parts; join them with llama.cpp's gguf-split --merge")
    return reader


def config_of(fields: dict[str, Any], tensors: dict[str, Any]) -> Any:
    """The model's configuration from the file's metadata; UserError, without the file's name, for what it cannot express."""
    from transformers import AutoConfig

    architecture = fields.get("general.architecture")
    if architecture not in TYPES:
        raise UserError(f"of architecture {architecture!r}, and read here are {', '.join(TYPES)}")
    kind = TYPES[architecture]
    own = {
        name.removeprefix(f"{architecture}."): v for name, v in fields.items() if name.startswith(f"{architecture}.")
    }
    if strange := sorted(set(own) - set(KEYS) - OTHER_KEYS):
        raise UserError(f"has {architecture}.{strange[0]} = {own[strange[0]]}, whose meaning is not known here")
    known = {KEYS[name]: value for name, value in own.items() if name in KEYS}
    if kind == "llama" and known.get("num_experts"):
        kind, known["num_local_experts"] = "mixtral", known.pop("num_experts")
    elif kind == "llama" and known.get("sliding_window"):
        kind = "mistral"
    heads, hidden = known["num_attention_heads"], known["hidden_size"]
    width = own.get("attention.key_length", hidden // heads)
    if own.get("attention.value_length", width) != width:
        raise UserError("its keys and values differ in width")
    for name in ("num_attention_heads", "num_key_value_heads", "intermediate_size", "sliding_window"):
        if isinstance(known.get(name), list):
            raise UserError(f"its layers differ in {name}")
    known.setdefault("num_key_value_heads", heads)
    ids = special_ids(fields)
    known |= {
        "vocab_size": int(tensors["token_embd.weight"].shape[1]) if "token_embd.weight" in tensors else None,
        "head_dim": width,
        "tie_word_embeddings": "output.weight" not in tensors,
        "rope_parameters": rope_of(own, width, tensors),
        **{f"{name}_token_id": ids.get(key) for name, key in (("bos", "bos"), ("eos", "eos"), ("pad", "padding"))},
    }
    if known["vocab_size"] is None:
        raise UserError("has no token_embd.weight")
    if kind in ("llama", "qwen3", "qwen3_moe"):
        known["attention_bias"] = "blk.0.attn_q.bias" in tensors
    elif kind == "qwen2_moe":
        known["norm_topk_prob"] = False
    if kind == "qwen3_moe":
        known["norm_topk_prob"] = True
    if kind.startswith("gemma"):
        # llama.cpp: the largest of each family (46 and 62 layers) scales by the model's width a head.
        largest = known["num_hidden_layers"] == {"gemma2": 46, "gemma3_text": 62}[kind]
        known["query_pre_attn_scalar"] = hidden // heads if largest else width
    if kind == "gemma3_text":
        local = {"rope_type": "default", "rope_theta": 10_000.0}
        known["rope_parameters"] = {"full_attention": known["rope_parameters"], "sliding_attention": local}
    if kind == "phi3":
        known["original_max_position_embeddings"] = own.get(
            "rope.scaling.original_context_length", known["max_position_embeddings"]
        )
    config = AutoConfig.for_model(kind, **known)
    config.architectures = [_class_of(kind)]
    config.dtype = torch.bfloat16
    return config


def _class_of(kind: str) -> str:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return str(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[kind])


def rope_of(own: dict[str, Any], width: int, tensors: dict[str, Any]) -> dict[str, Any]:
    """transformers' rope_parameters of a file; UserError where its frequencies are none that transformers computes."""
    base = float(own.get("rope.freq_base", 10_000.0))
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": base}
    turned = own.get("rope.dimension_count", width)
    if turned != width:
        rope["partial_rotary_factor"] = turned / width
    kind, factor = own.get("rope.scaling.type", "none"), own.get("rope.scaling.factor")
    original = own.get("rope.scaling.original_context_length")
    if ROPE_LONG in tensors or ROPE_SHORT in tensors:
        long, short = (_floats(tensors.get(name)) for name in (ROPE_LONG, ROPE_SHORT))
        if not long or not short:
            raise UserError(f"has one of {ROPE_LONG} and {ROPE_SHORT} without the other")
        rope |= {"rope_type": "longrope", "long_factor": long, "short_factor": short}
        if original:
            rope["original_max_position_embeddings"] = original
        if "rope.scaling.attn_factor" in own:
            rope["attention_factor"] = float(own["rope.scaling.attn_factor"])
    elif ROPE_FREQS in tensors:
        rope |= _llama3(np.array(_floats(tensors[ROPE_FREQS])), base, turned)
    elif kind == "linear" and factor:
        rope |= {"rope_type": "linear", "factor": float(factor)}
    elif kind == "yarn" and factor and original:
        rope |= {"rope_type": "yarn", "factor": float(factor), "original_max_position_embeddings": int(original)}
    elif kind != "none":
        raise UserError(f"scales its rope by {kind!r}, which is not known here")
    return rope


def _llama3(factors: np.ndarray, base: float, width: int) -> dict[str, Any]:
    """Llama 3's scaling with the factor that gives these divisors of the frequencies; UserError where none does."""
    if np.allclose(factors, 1):
        return {}
    frequencies = base ** -(np.arange(0, width, 2) / width)
    low, high, length = LLAMA3.values()
    factor = float(factors.max())
    smooth = ((length / (2 * np.pi) * frequencies - low) / (high - low)).clip(0, 1)
    wanted = 1 / ((1 - smooth) / factor + smooth)
    if factors.shape != wanted.shape or not np.allclose(factors, wanted, rtol=1e-3):
        raise UserError(f"has a {ROPE_FREQS} that is not Llama 3's scaling")
    return {"rope_type": "llama3", "factor": factor, **LLAMA3}


def _floats(tensor: Any) -> list[float]:
    return [] if tensor is None else dequantize(tensor.data, tensor.tensor_type).astype(float).tolist()


def sources_of(tensors: list[Any], config: Any) -> Iterator[Source]:
    """The folder's tensors, in the file's order; UserError for a tensor of the file that has no place in it."""
    names = NAMES[config.model_type]
    for tensor in tensors:
        if tensor.name in (ROPE_FREQS, ROPE_LONG, ROPE_SHORT):
            continue  # in the configuration
        stem, _, kind = tensor.name.rpartition(".")
        block = re.fullmatch(r"blk\.(\d+)\.(.+)", stem)
        own = (TOP if block is None else names).get(block[2] if block else stem)
        if own is None or kind not in ("weight", "bias"):
            raise UserError(f"its tensor {tensor.name} has no place in a {config.model_type}")
        name = f"model.layers.{block[1]}.{own}.{kind}" if block else f"{own}.{kind}"
        if "{}" not in own:
            yield Source(name, tensor, None)
        else:
            yield from (Source(name.format(e), tensor, e) for e in range(int(tensor.shape[-1])))


def write_weights(file: Path, sources: list[Source], config: Any, folder: Path) -> None:
    """Dequantise tensor by tensor into shards, the next one while the last is written."""
    shards: list[list[Source]] = [[]]
    size = 0
    for source in sources:
        own = 2 * _weights(source)
        if shards[-1] and size + own > SHARD_BYTES:
            shards.append([])
            size = 0
        shards[-1].append(source)
        size += own
    names = (
        ["model.safetensors"]
        if len(shards) == 1
        else [f"model-{number:05d}-of-{len(shards):05d}.safetensors" for number in range(1, len(shards) + 1)]
    )
    progress = Progress(sum(_weights(source) for source in sources), "GGUF", unit="weights")
    with ThreadPoolExecutor(threads()) as pool, ThreadPoolExecutor(1) as disk:
        written: Future[None] | None = None
        for name, shard in zip(names, shards, strict=True):
            tensors = {}
            for source, tensor in zip(shard, pool.map(lambda source: weights_of(source, config), shard), strict=True):
                tensors[source.name] = tensor
                progress.update(_weights(source))
            if written:
                written.result()
            written = disk.submit(save_file, tensors, folder / name, metadata={"format": "pt"})
        if written:
            written.result()
    progress.close()
    if len(shards) > 1:
        places = {source.name: name for name, shard in zip(names, shards, strict=True) for source in shard}
        total = sum((folder / name).stat().st_size for name in names)
        write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": places})


def _weights(source: Source) -> int:
    experts = 1 if source.expert is None else int(source.tensor.shape[-1])
    return int(source.tensor.n_elements) // experts


def weights_of(source: Source, config: Any) -> torch.Tensor:
    """A tensor of the folder in bfloat16, as transformers has it: what the converter did to it is undone."""
    tensor = source.tensor
    data = tensor.data if source.expert is None else tensor.data[source.expert]
    shape = tuple(reversed(tensor.shape.tolist()))[0 if source.expert is None else 1 :]
    # A quantised row is a sequence of blocks, so that any number of rows are one long row: gguf works 16 rows at a time.
    rows = data.reshape(-1, data.shape[-1])
    many = len(rows) // GROUP_ROWS * GROUP_ROWS
    parts = [rows[:many].reshape(-1, GROUP_ROWS * rows.shape[1]), rows[many:]]
    try:
        flat = [dequantize(part, tensor.tensor_type).ravel() for part in parts if part.size]
    except NotImplementedError:
        raise UserError(f"{tensor.name}: gguf does not read {tensor.tensor_type.name}; {HINT}") from None
    values = (flat[0] if len(flat) == 1 else np.concatenate(flat)).reshape(shape)
    if config.model_type in ("llama", "mistral", "mixtral") and re.search(r"\.attn_[qk]\.", tensor.name):
        heads = config.num_attention_heads if ".attn_q." in tensor.name else config.num_key_value_heads
        # llama.cpp turns neighbours, transformers turns halves (convert_hf_to_gguf.py, permute).
        values = values.reshape(heads, -1, 2, *shape[1:]).swapaxes(1, 2).reshape(shape)
    elif config.model_type.startswith("gemma") and tensor.name.endswith("norm.weight"):
        values = values - 1
    elif tensor.name.endswith("ffn_gate_inp_shexp.weight"):
        values = values.reshape(1, -1)
    return (
        torch.tensor(values, dtype=torch.bfloat16)
        if not values.flags.writeable
        else torch.from_numpy(values).to(torch.bfloat16)
    )
