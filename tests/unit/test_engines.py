"""The transformers engine: per-request seeds, batching, stop texts; and its sampling against known distributions."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import save_random_model

from regime_w.runtime.errors import UserError
from regime_w.sampling.engines.interface import Request, text_of
from regime_w.sampling.engines.open import choose
from regime_w.sampling.engines.transformers import open_transformers, ranked, sample

SMALL = {
    "vocab_size": 20, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 16, "max_position_embeddings": 128, "eos_token_id": 1, "pad_token_id": 2,
}  # fmt: skip
HYBRID = {
    "layer_types": ["linear_attention", "full_attention"], "linear_key_head_dim": 8, "linear_value_head_dim": 8,
    "linear_num_key_heads": 2, "linear_num_value_heads": 2, "num_experts": 2, "num_experts_per_tok": 1,
    "moe_intermediate_size": 16, "shared_expert_intermediate_size": 16,
}  # fmt: skip
PARAMS = {"batch_size": 4, "mode": "batched"}


def requests(n, temperature=1.0, stop=(), max_new_tokens=12):
    lengths = [3 + i % 5 for i in range(n)]
    return [
        Request(str(i), tuple(range(5, 5 + lengths[i])), temperature, 0.9, max_new_tokens, 100 + i, stop)
        for i in range(n)
    ]


def run(model, asked, **params):
    with open_transformers(model, PARAMS | params, gpus=0) as engine:
        engine.load(64)
        return {c.key: c for c in engine.generate(asked)}


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_request_gets_the_same_text_alone_and_in_any_batch(random_model, temperature):
    asked = requests(9, temperature)
    together = run(random_model, asked)
    assert sorted(together) == sorted(r.key for r in asked)
    assert run(random_model, asked[::-1], batch_size=3) == together
    assert run(random_model, asked, mode="one_at_a_time") == together


def test_greedy_agrees_with_generate(random_model):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    asked = requests(6, temperature=0.0)
    ours = run(random_model, asked)
    model = AutoModelForCausalLM.from_pretrained(random_model, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(random_model)
    for request in asked:
        ids = torch.tensor([request.prompt_ids])
        out = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=12)
        assert tuple(out[0, ids.shape[1] :].tolist()) == ours[request.key].token_ids
        assert tokenizer.decode(out[0, ids.shape[1] :]).removesuffix("</s>") == ours[request.key].text


def test_lengths_and_reasons(random_model):
    for completion in run(random_model, requests(8)).values():
        assert 1 <= completion.num_tokens <= 12
        assert (
            completion.finish_reason == ("length" if completion.num_tokens == 12 else "stop")
            or completion.num_tokens == 12
        )


def test_a_stop_text_ends_the_completion(random_model):
    free = run(random_model, requests(8, max_new_tokens=40))
    letter = next(c.text for c in free.values() if len(c.text) > 5)[4]
    stopped = run(random_model, requests(8, stop=(letter,), max_new_tokens=40))
    assert any(stopped[key].text != free[key].text for key in free)
    for key, completion in stopped.items():
        assert letter not in completion.text
        assert free[key].text.split(letter)[0].startswith(completion.text)


def test_a_completion_ends_at_the_ids_that_it_is_asked_to_end_at(random_model):
    free = run(random_model, requests(8, max_new_tokens=40))
    end = next(c.token_ids[3] for c in free.values() if len(c.token_ids) > 5)
    asked = [replace(request, stop_ids=(end,)) for request in requests(8, max_new_tokens=40)]
    ended = run(random_model, asked)
    assert any(end in completion.token_ids for completion in ended.values())
    for key, completion in ended.items():
        at = free[key].token_ids.index(end) + 1 if end in free[key].token_ids else len(free[key].token_ids)
        assert completion.token_ids == free[key].token_ids[:at]
        assert completion.finish_reason == ("stop" if completion.token_ids[-1] in (end, 1) else "length")


def test_text_shows_special_tokens_but_what_ended_it_and_padding(random_model):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(random_model)
    inner = tokenizer("a", add_special_tokens=False)["input_ids"]
    assert text_of(tokenizer, (0, *inner, 2, 1), {1}, ()) == "<s>a"
    assert text_of(tokenizer, (*inner, 1, *inner), {1}, ()) == "a</s>a"
    assert text_of(tokenizer, (*inner, *inner), {1}, ("a",)) == ""


@pytest.mark.parametrize("kind", ["Qwen3_5ForCausalLM", "Qwen3NextForCausalLM", "LlamaForCausalLM"])
def test_rows_leave_caches_of_every_kind(tmp_path, kind):
    """Linear attention keeps states instead of keys; the padding in front of a shorter prompt is not in them."""
    import transformers

    save_random_model(tmp_path)
    config = getattr(transformers, kind).config_class(**SMALL, **(HYBRID if kind != "LlamaForCausalLM" else {}))
    torch.manual_seed(0)
    getattr(transformers, kind)(config).save_pretrained(tmp_path)
    asked = requests(6, temperature=1.0)
    together = run(tmp_path, asked)
    assert len({completion.num_tokens for completion in together.values()}) > 1
    assert together == run(tmp_path, asked, mode="one_at_a_time")


def test_sampling_follows_the_softmax_and_the_nucleus():
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05]])).repeat(20000, 1)
    uniforms = torch.from_numpy(np.random.default_rng(0).random(20000, dtype=np.float32))
    ones = torch.ones(20000)
    free = torch.bincount(sample(logits, ones, ones, uniforms), minlength=4) / 20000
    assert torch.allclose(free, torch.tensor([0.5, 0.3, 0.15, 0.05]), atol=0.02)
    nucleus = torch.bincount(sample(logits, ones, 0.8 * ones, uniforms), minlength=4) / 20000
    assert torch.allclose(nucleus, torch.tensor([0.625, 0.375, 0.0, 0.0]), atol=0.02)
    sharp = sample(logits, 0.01 * ones, ones, uniforms)
    assert (sharp == 0).all()


def test_probabilities_are_ranked_as_torch_sorts_them():
    """Equal ones, too, zeros among them: the first token goes first, as in a stable sort."""
    logits = 9 * torch.randn(20, 300, generator=torch.Generator().manual_seed(0))
    probabilities = (logits.softmax(-1) * 500).round() / 500
    assert (probabilities == 0).any()
    for each in (probabilities, logits.softmax(-1)):
        values, tokens = ranked(each)
        wanted = each.sort(dim=-1, descending=True, stable=True)
        assert torch.equal(values, wanted.values)
        assert torch.equal(tokens, wanted.indices)


def test_vllm_asked_for_where_it_is_not_installed(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="not installed"):
        choose("vllm", 1)
    assert choose("auto", 0)[0] == "transformers"
