"""One prompt for SFT, generation, DPO and evaluation, as text and as token ids.

The default template is Abel's own format (GAIR-NLP/abel, evaluation/inference.py); a style's instruction stands before it.

    prompt = render("Question:\n{question}\nAnswer:\nLet's think step by step.\n", "1 + 1?", None)
    prompt_ids, completion_ids = encode(tokenizer, prompt, "1 + 1 = 2\n#### 2")
"""

from typing import Any

from regime_w.runtime.errors import UserError

PLAIN = "plain"


def render(template: str, question: str, instruction: str | None) -> str:
    """Fill the question in (braces in it are safe) and put the style's instruction, if any, in front."""
    prompt = template.replace("{question}", question.strip())
    return f"{instruction.strip()}\n\n{prompt}" if instruction else prompt


def training_prompt(example: dict[str, Any], question: str, params: dict[str, Any], section: str) -> str:
    """The prompt that a pair or sample is trained with, as `train_prompt` of its config section says."""
    style = PLAIN if params[section]["train_prompt"] == "canonical" else example["style"]
    if style not in (PLAIN, *params["styles"]):
        raise UserError(
            f"question {example['id']}: style {style!r} is not under styles; known are {sorted(params['styles'])}"
        )
    return render(params["template"], question, params["styles"].get(style))


def encode_prompt(tokenizer: Any, prompt: str) -> list[int]:
    """Token ids of a prompt: exactly one BOS where the tokenizer has one to add, none otherwise, never an EOS."""
    ids = list(tokenizer(prompt, add_special_tokens=False)["input_ids"])
    if tokenizer.bos_token_id is not None and adds_bos(tokenizer):
        ids = [tokenizer.bos_token_id, *ids]
    return ids


def encode(tokenizer: Any, prompt: str, completion: str) -> tuple[list[int], list[int]]:
    """Token ids of prompt and completion, tokenised apart so that the prompt's ids are those of generation.

    The completion ends with one EOS.
    """
    completion_ids = list(tokenizer(completion, add_special_tokens=False)["input_ids"])
    if not completion_ids or completion_ids[-1] != tokenizer.eos_token_id:
        completion_ids.append(tokenizer.eos_token_id)
    return encode_prompt(tokenizer, prompt), completion_ids


def adds_bos(tokenizer: Any) -> bool:
    """Whether the tokenizer itself begins a text with BOS (Llama and Mistral do, SmolLM2 does not)."""
    ids = tokenizer("a")["input_ids"]
    return bool(ids) and ids[0] == tokenizer.bos_token_id
