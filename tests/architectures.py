"""The architectures that are tested from base model to evaluation at random weights, and what the documentation says of each.

Sizes are a few thousand weights; what makes an architecture its own (windows, caps, experts, tied embeddings) is on.
"""

from pathlib import Path
from typing import Any, NamedTuple

SMALL = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 512,
}  # fmt: skip
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
GEMMA = {"head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 16}
VISION = {
    "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
    "image_size": 28, "patch_size": 14,
}  # fmt: skip


class Architecture(NamedTuple):
    """A row of the table. `packs`: whether training drops padding on a GPU; `vllm`: tested on vLLM's CPU build too."""

    name: str
    model_type: str
    config: dict[str, Any]
    packs: bool = True
    vllm: bool = False


ARCHITECTURES = [
    Architecture("Llama", "llama", {"tie_word_embeddings": False}, vllm=True),
    Architecture("Llama, tied embeddings", "llama", {"tie_word_embeddings": True}),
    Architecture("Mistral", "mistral", {"sliding_window": 32}, vllm=True),
    Architecture("Qwen2, Qwen2.5", "qwen2", {"tie_word_embeddings": True}, vllm=True),
    Architecture("Qwen3", "qwen3", {"head_dim": 8}, vllm=True),
    Architecture("Gemma 2", "gemma2", GEMMA | {"attn_logit_softcapping": 2.0}, vllm=True),
    Architecture("Gemma 3, text", "gemma3_text", GEMMA | {"sliding_window_pattern": 2}),
    Architecture("Phi-3", "phi3", {"sliding_window": 32}),
    Architecture("SmolLM3", "smollm3", {"no_rope_layer_interval": 2}),
    Architecture("OLMo", "olmo", {}),
    Architecture("OLMo 2", "olmo2", {}, vllm=True),
    Architecture("Mixtral", "mixtral", {"num_local_experts": 4, "num_experts_per_tok": 2}),
    Architecture("Qwen3, mixture of experts", "qwen3_moe", EXPERTS | {"head_dim": 8}),
    Architecture(
        "DeepSeek-V3",
        "deepseek_v3",
        {
            "n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 2, "topk_group": 1, "moe_intermediate_size": 16,
            "first_k_dense_replace": 1, "q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8,
            "v_head_dim": 8, "num_key_value_heads": 4,
        },
        packs=False,
    ),
    Architecture("Gemma 3 with vision, text alone", "gemma3", GEMMA | {"sliding_window_pattern": 2}, packs=False),
]  # fmt: skip


def save_architecture(row: Architecture, folder: Path, tokenizer: Any) -> Path:
    """A model of this architecture with random weights, and its tokenizer."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    own = SMALL | {
        "vocab_size": len(tokenizer), "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    } | row.config  # fmt: skip
    if row.model_type == "gemma3":
        config = AutoConfig.for_model("gemma3", text_config=own, vision_config=VISION, mm_tokens_per_image=4)
    else:
        config = AutoConfig.for_model(row.model_type, **own)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
