"""Layers without padding give what padded ones give: log-probabilities and gradients. Whole trainings: test_training.py."""

import pytest
import torch
from peft import get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, set_seed

from regime_w.training import packing
from regime_w.training import trainer as training
from regime_w.training.packing import PACKED, pack, why_padded

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
    config = AutoConfig.for_model(kind, **SIZES, **more)
    # Of transformers' kinds of attention eager alone caps scores.
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    lora = training.lora_config(
        {"r": 4, "alpha": 8, "dropout": 0.0, "target_modules": "all-linear", "target_parameters": []}, model
    )
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


MORE = {
    "gemma2": {"query_pre_attn_scalar": 4, "attn_logit_softcapping": 0.5, "sliding_window": 4},
    "gemma3_text": {"query_pre_attn_scalar": 4, "sliding_window": 4, "sliding_window_pattern": 2},
    "mistral": {"sliding_window": 4},
    "phi3": {"sliding_window": 4, "pad_token_id": None},
    "smollm3": {"no_rope_layer_interval": 2, "pad_token_id": None},
    "starcoder2": {"sliding_window": 4, "residual_dropout": 0.0, "embedding_dropout": 0.0},
    "qwen2": {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1},
    "mixtral": {"num_local_experts": 4, "sliding_window": 4},
    "qwen2_moe": {"num_experts": 4, "moe_intermediate_size": 8, "shared_expert_intermediate_size": 8},
    "qwen3_moe": {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8},
}


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("kind", sorted(PACKED))
def test_packed_layers_give_the_same(kind, checkpointing):
    found = []
    for packed in (False, True):
        model = random_model(kind, **MORE.get(kind, {}))
        assert why_padded(model, max(LENGTHS), "cpu") is None
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


@pytest.mark.parametrize("kind", ["gemma2", "gemma3_text", "mistral", "phi3", "starcoder2", "qwen2", "mixtral"])
def test_windows_and_caps_count_in_these_tests(kind):
    """Without them the log-probabilities are others: the test above would see them missing."""
    without = {"attn_logit_softcapping": None} if kind == "gemma2" else {"sliding_window": 64}
    one, other = (log_probs_and_gradients(random_model(kind, **MORE[kind] | more))[0] for more in ({}, without))
    assert not torch.allclose(one[0], other[0], atol=1e-4)


def test_what_cannot_be_packed_says_why(monkeypatch):
    def reason(model):
        return why_padded(model, 9, "cpu")

    assert reason(random_model("llama", attention_dropout=0.1)) == "it has attention_dropout"
    assert reason(random_model("gemma3_text", use_bidirectional_attention=True)) == "its attention is not causal"
    gpt2 = AutoModelForCausalLM.from_config(AutoConfig.for_model("gpt2", n_embd=16, n_layer=1, n_head=2, vocab_size=64))
    assert reason(gpt2) == "the attention of a gpt2 is not known here"
    assert reason(random_model("mistral", sliding_window=8)) is None
    # An attention that leaves the window out is found out, and one that has none as well.
    kept = packing.attend
    monkeypatch.setattr(packing, "attend", lambda *states, sliding_window: kept(*states))
    assert "longer than the model's window of 8" in reason(random_model("mistral", sliding_window=8))
    assert reason(random_model("mistral", sliding_window=9)) is None
    monkeypatch.setattr(packing, "attend", lambda *states: kept(*states))
    assert "longer than the model's window of 8" in reason(random_model("mistral", sliding_window=8))
