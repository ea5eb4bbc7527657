"""The transformers engine: per-request seeds, batching, stop texts; and its sampling against known distributions."""

import numpy as np
import pytest
import torch

from regime_w.runtime.errors import UserError
from regime_w.sampling.engines.interface import Request
from regime_w.sampling.engines.open import choose
from regime_w.sampling.engines.transformers import open_transformers, sample

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
        assert tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True) == ours[request.key].text


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


def test_vllm_asked_for_where_it_is_not_installed(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="not installed"):
        choose("vllm", 1)
    assert choose("auto", 0)[0] == "transformers"
