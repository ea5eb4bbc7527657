"""Layers without padding give what padded ones give: log-probabilities and gradients. Whole trainings: test_training.py."""

import pytest
import torch
from peft import get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, set_seed

from regime_w.training import trainer as training
from regime_w.training.packing import PACKED, pack, packs

LENGTHS = (9, 5, 1)
SIZES = {
    "vocab_size": 64,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 4,
}


def random_model(kind, **more):
    set_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **SIZES, **more))
    lora = training.lora_config({"r": 4, "alpha": 8, "dropout": 0.0, "target_modules": "all-linear"})
    model = get_peft_model(model, lora)
    for name, weights in model.named_parameters():
        if "lora_B" in name:  # 0 at the start: nothing would flow to lora_A
            torch.nn.init.normal_(weights, std=0.1)
    return model


def batch():
    ids = torch.randint(64, (len(LENGTHS), max(LENGTHS)), generator=torch.Generator().manual_seed(0))
    mask = (torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]).long()
    return {"input_ids": ids, "attention_mask": mask}


def log_probs_and_gradients(model):
    """Of the real tokens of two batches, one after the other, and of the adapter."""
    found = []
    for inputs in (batch(), {name: rows.flip(0) for name, rows in batch().items()}):
        logits = model(**inputs, use_cache=False).logits[inputs["attention_mask"].bool()]
        found.append(logits.log_softmax(-1))
        found[-1][:, 3].sum().backward()
    return found, {name: weights.grad for name, weights in model.named_parameters() if weights.requires_grad}


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("kind", sorted(PACKED))
def test_packed_layers_give_the_same(kind, checkpointing):
    found = []
    for packed in (False, True):
        model = random_model(kind)
        assert packs(model, max(LENGTHS))
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
            model.enable_input_require_grads()
            model.train()
        if packed:
            pack(model)
        found.append(log_probs_and_gradients(model))
    (padded, padded_gradients), (packed, packed_gradients) = found
    for ours, theirs in zip(packed, padded, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert packed_gradients.keys() == padded_gradients.keys()
    for name, gradient in packed_gradients.items():
        assert gradient.abs().sum() > 0
        torch.testing.assert_close(gradient, padded_gradients[name])


def test_what_cannot_be_packed_is_not():
    assert not packs(random_model("mistral", sliding_window=8), 9)
    assert packs(random_model("mistral", sliding_window=8), 8)
    assert not packs(random_model("llama", attention_dropout=0.1), 9)
    assert not packs(AutoModelForCausalLM.from_config(AutoConfig.for_model("gemma2", **SIZES)), 9)
