"""Models of random weights in the shape of real ones, with a tokenizer made on the spot, and random LoRA adapters for them.

Real safetensors, so that every stage reads from disk what it would read of a trained model. No text ends by itself: the
output weights of the EOS token are 0, which leaves it one chance in more than the vocabulary's size at each step.
"""

import math
import random
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig, PreTrainedTokenizerFast

from regime_w.models import tokenizer as bpe_tokenizer
from regime_w.models.adapters import ADAPTER_WEIGHTS
from regime_w.models.folders import check_model, model_shapes
from regime_w.runtime.records import write_json

# config.json of GAIR/Abel-7B-002 and HuggingFaceTB/SmolLM2-135M, and one for tests.
SHAPES: dict[str, tuple[Any, dict[str, Any]]] = {
    "abel": (
        MistralConfig,
        {
            "vocab_size": 32000,
            "hidden_size": 4096,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "intermediate_size": 14336,
            "max_position_embeddings": 32768,
            "sliding_window": 4096,
            "rope_theta": 10000.0,
        },
    ),
    "smollm2": (
        LlamaConfig,
        {
            "vocab_size": 49152,
            "hidden_size": 576,
            "num_hidden_layers": 30,
            "num_attention_heads": 9,
            "num_key_value_heads": 3,
            "intermediate_size": 1536,
            "max_position_embeddings": 8192,
            "tie_word_embeddings": True,
            "rope_theta": 100000.0,
        },
    ),
    "toy": (
        MistralConfig,
        {
            "vocab_size": 1000,
            "hidden_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "intermediate_size": 128,
            "max_position_embeddings": 512,
            "sliding_window": 4096,
            "rope_theta": 10000.0,
        },
    ),
}
SPREAD = 0.02  # of the weights, as models are initialised
SHARD_BYTES = 4e9
SYLLABLES = [c + v for c in "bcdfghjklmnprstvwz" for v in ("a", "e", "i", "o", "u")]


def write_model(folder: Path, shape: str, text: str, seed: int, generator: torch.Generator) -> int:
    """Config, tokenizer and weights in shards of SHARD_BYTES; returns the number of weights."""
    kind, values = SHAPES[shape]
    tokenizer = train_tokenizer(values["vocab_size"], text, seed)
    config = kind(
        **values,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="bfloat16",
    )
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    tied = config.tie_word_embeddings
    tensors = {name: t.shape for name, t in model.state_dict().items() if not (tied and name == "lm_head.weight")}
    output = "model.embed_tokens.weight" if tied else "lm_head.weight"
    tokenizer.save_pretrained(folder)
    config.architectures = [type(model).__name__]
    config.save_pretrained(folder)
    model.generation_config.save_pretrained(folder)

    shards: list[dict[str, torch.Size]] = [{}]
    size = 0
    for name, dimensions in tensors.items():
        size += 2 * dimensions.numel()
        if size > SHARD_BYTES:
            shards.append({})
            size = 2 * dimensions.numel()
        shards[-1][name] = dimensions
    index: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        file = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        made = {name: noise(dimensions, SPREAD, generator) for name, dimensions in shard.items()}
        for name, tensor in made.items():
            if tensor.dim() == 1:
                tensor.fill_(1)  # norms
            if name == output:
                tensor[tokenizer.eos_token_id] = 0
        save_file({name: tensor.cpu() for name, tensor in made.items()}, folder / file, metadata={"format": "pt"})
        index |= dict.fromkeys(made, file)
    weights = sum(dimensions.numel() for dimensions in tensors.values())
    write_json(folder / "model.safetensors.index.json", {"metadata": {"total_size": 2 * weights}, "weight_map": index})
    check_model(folder)
    return weights


def write_adapter(folder: Path, base: Path, lora: dict[str, Any], generator: torch.Generator) -> None:
    """A PEFT adapter on all linear layers but the output, which moves the weights by a few per cent."""
    rank, made, targets = lora["r"], dict[str, torch.Tensor](), set[str]()
    for name, (rows, columns) in ((n, s) for n, s in model_shapes(base).items() if n.endswith("_proj.weight")):
        layer = f"base_model.model.{name.removesuffix('.weight')}"
        made[f"{layer}.lora_A.weight"] = noise((rank, columns), columns**-0.5, generator).cpu()
        spread = 0.05 * SPREAD * rank / lora["alpha"] * math.sqrt(columns / rank)
        made[f"{layer}.lora_B.weight"] = noise((rows, rank), spread, generator).cpu()
        targets.add(layer.split(".")[-1])
    save_file(made, folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": str(base),
        "inference_mode": True,
        "r": rank,
        "lora_alpha": lora["alpha"],
        "lora_dropout": lora["dropout"],
        "target_modules": sorted(targets),
    }
    write_json(folder / "adapter_config.json", config)


def noise(shape: Any, spread: float, generator: torch.Generator) -> torch.Tensor:
    empty = torch.empty(shape, dtype=torch.bfloat16, device=generator.device)
    return empty.normal_(0, spread, generator=generator)


def train_tokenizer(vocab_size: int, text: str, seed: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE of exactly `vocab_size` tokens, made of random words and of `text`, the words of the prompts."""
    rng = random.Random(seed)
    words = [" " + "".join(rng.choices(SYLLABLES, k=rng.choice((2, 3, 4)))) for _ in range(vocab_size)]
    # A word that stands often becomes a token as a whole.
    texts = ["".join(words), *[text] * 100]
    return bpe_tokenizer.train(texts, pre_tokenizers.ByteLevel(add_prefix_space=False), vocab_size)
