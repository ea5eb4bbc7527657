"""Small tokenizers built as those of well-known model families, with the families' chat templates.

Templates come from the installed TRL (trl/chat_templates, each as its model's repository has it), but for two that it does
not hold: Mistral's follow mistral-common's table of formats (V1 with spaces, V3 with control tokens), SmolLM2's its model card.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from types import MappingProxyType
from typing import Any, NamedTuple

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

TEXT = [
    "Question: Natalia sold 48 clips in April, and half as many in May. How many did she sell?\nAnswer:\n",
    "Step 1: 48/2 = 24 clips. Then 48 + 24 = 72.\n\n#### 72 user assistant model system INST",
    "Be exact. Think carefully, and end with the answer. What is 3 + 4? It is seven.",
] * 4
GPT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
SMOLLM = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\n"
    "You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# The system's text before that of the last user message.
MISTRAL = (
    "{% set system = messages[0]['content'] + '\n\n' if messages[0]['role'] == 'system' else '' %}{{ bos_token }}"
    "{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ OPEN + (system if loop.last or loop.index0 == messages | length - 2 else '') + message['content'] + CLOSE }}"
    "{% elif message['role'] == 'assistant' %}{{ ' ' + message['content'] | trim + eos_token }}{% endif %}{% endfor %}"
)


class Family(NamedTuple):
    """`build` makes the tokenizer; `generation`: EOS tokens of its generation_config.json."""

    build: Callable[[], PreTrainedTokenizerFast]
    end: str
    generation: tuple[str, ...]
    variables: Mapping[str, Any] = MappingProxyType({})


def shipped(name: str) -> str:
    return (files("trl") / "chat_templates" / f"{name}.jinja").read_text(encoding="utf-8")


def byte_level(
    template: str, special: list[str], added: Sequence[str] = (), bos: str | None = None, adds_bos: bool = False,
    digits: bool = False, **named: str,
) -> PreTrainedTokenizerFast:  # fmt: skip
    """Bytes as letters, as GPT-2 and after it Llama 3 and Qwen; control tokens behind the vocabulary."""
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Digits(individual_digits=True) if digits else pre_tokenizers.Split(Regex(GPT), "isolated")
    byte = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=digits)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=420, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(TEXT, trainer)
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in added])
    if adds_bos:
        _add_bos(tokenizer, str(bos))
    return _wrapped(tokenizer, template, bos_token=bos, **named)


def sentencepiece(
    template: str,
    special: list[str],
    rstrip: tuple[str, ...] = (),
    style: str = "metaspace",
    adds_bos: bool = True,
    **named: str,
) -> PreTrainedTokenizerFast:
    """Letters with ▁ for a space and bytes for what is rare, as Llama 2, Mistral, Phi-3 and Gemma; control tokens in front."""
    tokenizer = Tokenizer(models.BPE())
    spaces: dict[str, Any] = {
        "metaspace": {"pre_tokenizer": pre_tokenizers.Metaspace(prepend_scheme="first", split=False)},
        "prepend": {"normalizer": normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])},
        "replace": {
            "normalizer": normalizers.Replace(" ", "▁"),
            "pre_tokenizer": pre_tokenizers.Split(" ", "merged_with_previous"),
        },
    }[style]
    for part, value in spaces.items():
        setattr(tokenizer, part, value)
    tokenizer.train_from_iterator(
        [word for text in TEXT for word in text.split(" ")], trainers.BpeTrainer(vocab_size=300, show_progress=False)
    )
    spec = json.loads(tokenizer.to_str())
    pieces = [*special, *(f"<0x{number:02X}>" for number in range(256)), "▁"]
    pieces += [piece for piece in spec["model"]["vocab"] if piece not in pieces]
    spec["model"] |= {"vocab": {piece: number for number, piece in enumerate(pieces)}, "byte_fallback": True}
    spec["model"] |= {"unk_token": "<unk>", "fuse_unk": True}
    tokenizer = Tokenizer.from_str(json.dumps(spec))
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence(steps if style == "replace" else [*steps, decoders.Strip(" ", 1, 0)])
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True, normalized=False, rstrip=token in rstrip) for token in special]
    )
    if adds_bos:
        _add_bos(tokenizer, named["bos_token"])
    return _wrapped(tokenizer, template, unk_token="<unk>", **named)


def _add_bos(tokenizer: Tokenizer, bos: str) -> None:
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", special_tokens=[(bos, tokenizer.token_to_id(bos))]
    )


def _wrapped(tokenizer: Tokenizer, template: str, **named: str | None) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, chat_template=template, clean_up_tokenization_spaces=False, **named
    )


QWEN = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TOOLS = ["<tool_call>", "</tool_call>", "<|fim_prefix|>"]
LLAMA = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
GEMMA = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"]
PHI = ["<unk>", "<s>", "</s>", "<|endoftext|>", "<|assistant|>", "<|system|>", "<|end|>", "<|user|>"]
MISTRAL_V1 = MISTRAL.replace("OPEN", "' [INST] '").replace("CLOSE", "' [/INST]'")
MISTRAL_V3 = MISTRAL.replace("OPEN", "'[INST] '").replace("CLOSE", "'[/INST]'")


def _llama(name: str) -> Callable[[], PreTrainedTokenizerFast]:
    return lambda: byte_level(shipped(name), LLAMA, bos=LLAMA[0], adds_bos=True, eos_token="<|eot_id|>")


FAMILIES = {
    "qwen2.5": Family(
        lambda: byte_level(shipped("qwen2_5"), QWEN, TOOLS, eos_token="<|im_end|>", pad_token="<|endoftext|>"),
        "<|im_end|>",
        ("<|im_end|>", "<|endoftext|>"),
    ),
    "qwen3": Family(
        lambda: byte_level(
            shipped("qwen3"), QWEN, [*TOOLS, "<think>", "</think>"], eos_token="<|im_end|>", pad_token="<|endoftext|>"
        ),
        "<|im_end|>",
        ("<|im_end|>", "<|endoftext|>"),
    ),
    "qwen3 without thinking": Family(
        lambda: byte_level(shipped("qwen3"), QWEN, [*TOOLS, "<think>", "</think>"], eos_token="<|im_end|>"),
        "<|im_end|>",
        ("<|im_end|>", "<|endoftext|>"),
        {"enable_thinking": False},
    ),
    "llama3": Family(_llama("llama3"), "<|eot_id|>", ("<|end_of_text|>", "<|eot_id|>")),
    "llama3.2": Family(_llama("llama3_2"), "<|eot_id|>", ("<|end_of_text|>",), {"date_string": "26 Jul 2024"}),
    "gemma": Family(
        lambda: sentencepiece(
            shipped("gemma"), GEMMA, style="replace", bos_token="<bos>", eos_token="<eos>", pad_token="<pad>"
        ),
        "<end_of_turn>",
        ("<eos>",),
    ),
    "gemma3": Family(
        lambda: sentencepiece(
            shipped("gemma3"), GEMMA, style="replace", bos_token="<bos>", eos_token="<eos>", pad_token="<pad>"
        ),
        "<end_of_turn>",
        ("<eos>", "<end_of_turn>"),
    ),
    "phi3": Family(
        lambda: sentencepiece(
            shipped("phi3"),
            PHI,
            tuple(PHI[4:]),
            "prepend",
            adds_bos=False,
            bos_token="<s>",
            eos_token="<|endoftext|>",
            pad_token="<|endoftext|>",
        ),
        "<|end|>",
        ("<|endoftext|>", "<|end|>"),
    ),
    "mistral v1": Family(
        lambda: sentencepiece(MISTRAL_V1, ["<unk>", "<s>", "</s>"], style="prepend", bos_token="<s>", eos_token="</s>"),
        "</s>",
        ("</s>",),
    ),
    "mistral v3": Family(
        lambda: sentencepiece(
            MISTRAL_V3, ["<unk>", "<s>", "</s>", "[INST]", "[/INST]"], bos_token="<s>", eos_token="</s>"
        ),
        "</s>",
        ("</s>",),
    ),
    "smollm2": Family(
        lambda: byte_level(
            SMOLLM, QWEN, bos="<|im_start|>", eos_token="<|im_end|>", digits=True, pad_token="<|im_end|>"
        ),
        "<|im_end|>",
        ("<|im_end|>",),
    ),
}
