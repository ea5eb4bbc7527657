"""The benchmark: its arithmetic by hand-computed numbers, and the whole of it at toy size through snakemake."""

import json
import os
import subprocess
import sys
import types
from statistics import mean

import pytest
from helpers import clone_to, demo_config

from regime_w.config.schema import load
from regime_w.models.random_weights import SHAPES, train_tokenizer
from regime_w.runtime.errors import UserError
from regime_w.sampling.collect import length_of
from regime_w.sampling.engines import vllm
from regime_w.sampling.engines.interface import Completion
from regime_w.sampling.engines.vllm import engine_options, engines_per_gpu
from scripts.benchmark.benchmark_generate import Timeline, settings
from scripts.benchmark.benchmark_report import comparison, cost, dpo_flops, extrapolate, joined, mfu, peak_of


def measured(mode, made, tokens, seconds, gpus=1, **more):
    return {
        "mode": mode, "made": made, "requests": 4000, "tokens": tokens, "seconds": seconds, "gpu_count": gpus,
        "tokens_per_second": tokens / seconds, "tokens_mean": tokens / made, "start_seconds": 36.0, "engines": gpus,
        "utilisation": 80.0, "steady": None, "tail": None, "job_seconds": seconds + 40, "peak_memory_mb": 1000.0, **more,
    }  # fmt: skip


def test_a_sample_is_extrapolated_by_tokens_and_everything_is_not():
    assert extrapolate(measured("one_question", 100, 15_000, 75.0), 4000, 600_000) == (3000.0, "extrapolated")
    assert extrapolate(measured("pipeline", 4000, 600_000, 36.0), 4000, 600_000) == (36.0, "measured")


def test_cost():
    assert cost(7200, 8, 1.25) == pytest.approx(20.0)  # the guide: 2 hours of 8 GPUs at 10 USD an hour


def test_comparison_counts_the_same_tokens_for_every_mode():
    modes = {
        "one_at_a_time": measured("one_at_a_time", 16, 2_400, 96.0),  # 25 tokens/s
        "one_question": measured("one_question", 96, 9_600, 48.0),  # 200 tokens/s, shorter ones than all
        "pipeline": measured("pipeline", 4000, 600_000, 36.0),
    }
    slow, question, ours, shards, _ = comparison(modes, 4000, 1.25)
    assert (slow["seconds"], slow["kind"]) == (24_000.0, "extrapolated")
    assert (question["seconds"], question["kind"]) == (3_000.0, "extrapolated")
    assert (ours["seconds"], ours["kind"]) == (36.0, "measured")
    assert ours["speed_up_one_at_a_time"] == pytest.approx(666.67, abs=0.01)
    assert ours["speed_up_one_question"] == pytest.approx(83.33, abs=0.01)
    assert slow["speed_up_one_at_a_time"] == 1.0
    assert ours["usd"] == pytest.approx(72 / 3600 * 1.25)
    assert shards == {"mode": "shards", "label": "this pipeline, one engine a GPU", "kind": "not measured"}


def test_shards_count_as_one_with_the_time_of_the_slowest():
    modes = joined(
        {
            "shards-0-of-2": measured("shards-0-of-2", 1900, 290_000, 20.0, utilisation=90.0),
            "shards-1-of-2": measured("shards-1-of-2", 2100, 310_000, 24.0, utilisation=94.0),
        }
    )
    assert list(modes) == ["shards"]
    found = modes["shards"]
    assert (found["made"], found["tokens"], found["seconds"], found["gpu_count"]) == (4000, 600_000, 24.0, 2)
    assert found["tokens_per_second"] == 25_000.0
    assert found["utilisation"] == 92.0


def test_flops_of_dpo_and_their_share_of_the_peak():
    # A token: 6 x 10 + 6 x 1 + 8 x 1 x 2 x 3 = 114 operations.
    assert dpo_flops(weights=10, lora=1, layers=1, hidden=2, tokens=100, sequence=3) == 11_400
    assert mfu(400e12, seconds=2.0, gpus=1, peak_tflops=1000) == pytest.approx(0.2)
    assert mfu(400e12, seconds=2.0, gpus=2, peak_tflops=1000) == pytest.approx(0.1)
    assert peak_of("NVIDIA H100 80GB HBM3") == 989.4
    assert peak_of("NVIDIA H100 PCIe") == 756
    assert peak_of("something else") is None


def test_the_tail_and_what_it_costs(monkeypatch):
    """Ten requests, two places: the first eight finish one a second, the last two take four seconds more each."""
    clock = iter([0.0, *range(1, 9), 12, 16])
    monkeypatch.setattr("scripts.benchmark.benchmark_generate.time.monotonic", lambda: next(clock))
    monkeypatch.setattr("scripts.benchmark.benchmark_generate.visible_gpus", list)
    timeline = Timeline(10, places=2)
    timeline.observe(None)
    for number in range(10):
        timeline.observe(Completion(str(number), "", (7,) * 5, "length"))
    timeline.close()
    found = timeline.summary()
    assert (found["made"], found["tokens"], found["seconds"]) == (10, 50, 16)
    # Steady from the second request (a quarter) to the eighth: six requests of five tokens in six seconds.
    assert found["steady"] == {"tokens_per_second": 5.0, "seconds": 6, "utilisation": None}
    # The tail lasts 8 s; all 50 tokens at 5 a second take 10 s of the 16.
    assert found["tail"] == {"seconds": 8, "utilisation": None, "cost_seconds": 6.0}


def test_lengths_follow_their_distribution_and_the_key():
    lengths = {"mean": 149.0, "sigma": 0.5}
    drawn = [length_of(str(key), lengths, 512) for key in range(4000)]
    assert drawn == [length_of(str(key), lengths, 512) for key in range(4000)]
    assert mean(drawn) == pytest.approx(149, rel=0.02)
    assert 1 <= min(drawn) < 50
    assert max(drawn) == 512


def test_modes_change_only_what_they_are_about():
    config = demo_config()
    sizes = {"full_questions": 7473, "small_questions": 2200}
    params = {"engine": config["engine"], "generate": config["generate"], "sizes": sizes}
    assert settings(params, "pipeline", 1) == params
    assert settings(params, "shards", 2) == params
    assert settings(params, "one_question", 1)["engine"]["vllm"]["enforce_eager"]
    assert settings(params, "tensor_parallel", 4)["engine"]["vllm"]["tensor_parallel_size"] == 4
    assert settings(params, "full", 1)["generate"]["n_samples"] == 7473
    assert settings(params, "one_at_a_time", 1)["engine"]["transformers"]["mode"] == "one_at_a_time"
    assert settings(params, "small_one_engine", 1)["engine"]["vllm"]["engines_per_gpu"] == 1
    assert settings(params, "small", 1)["engine"]["vllm"]["engines_per_gpu"] == "auto"


def test_engines_of_a_gpu(tmp_path, monkeypatch):
    weights = tmp_path / "model.safetensors"
    auto = {"engines_per_gpu": "auto", "tensor_parallel_size": 1, "gpu_memory_utilization": 0.9}
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    monkeypatch.setattr(vllm, "memory_of_a_gpu", lambda: 80 * 2**30)
    with open(weights, "wb") as file:
        file.truncate(300_000_000)
    assert engines_per_gpu(auto, tmp_path, gpus=1) == 6
    assert engines_per_gpu(auto, tmp_path, gpus=0) == 1
    assert engines_per_gpu(auto | {"tensor_parallel_size": 2}, tmp_path, gpus=2) == 1
    assert engines_per_gpu(auto | {"engines_per_gpu": 3}, tmp_path, gpus=1) == 3
    assert engines_per_gpu(auto | {"jobs_per_gpu": 3}, tmp_path, gpus=1) == 2
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert engines_per_gpu(auto, tmp_path, gpus=1) == 4
    with open(weights, "wb") as file:
        file.truncate(3_100_000_000)
    assert engines_per_gpu(auto, tmp_path, gpus=1) == 3
    monkeypatch.setattr(vllm, "memory_of_a_gpu", lambda: 16 * 2**30)  # two and their caches fit
    assert engines_per_gpu(auto, tmp_path, gpus=1) == 2
    monkeypatch.setattr(vllm, "memory_of_a_gpu", lambda: None)
    assert engines_per_gpu(auto, tmp_path, gpus=1) == 3
    with open(weights, "wb") as file:
        file.truncate(14_000_000_000)
    assert engines_per_gpu(auto, tmp_path, gpus=1) == 1


def test_jobs_of_a_gpu_share_its_memory(tmp_path, monkeypatch):
    config = demo_config()["engine"]["vllm"]
    (tmp_path / "config.json").write_text('{"max_position_embeddings": 2048}')
    platforms = types.SimpleNamespace(
        current_platform=types.SimpleNamespace(get_device_total_memory=lambda: 80 * 2**30)
    )
    monkeypatch.setitem(sys.modules, "vllm.platforms", platforms)
    alone = engine_options(config, tmp_path, 1, 0, 300, 1)
    assert "kv_cache_memory_bytes" not in alone
    shared = engine_options(config | {"jobs_per_gpu": 4}, tmp_path, 1, 0, 300, 1)
    assert shared["gpu_memory_utilization"] == alone["gpu_memory_utilization"] / 4
    assert 4 * shared["kv_cache_memory_bytes"] < alone["gpu_memory_utilization"] * 80 * 2**30


def test_graphs_are_captured_for_all_places_and_up_to_twice_as_many_tokens(tmp_path):
    config = demo_config()["engine"]["vllm"]
    (tmp_path / "config.json").write_text("{}")

    def sizes(gpus, **changed):
        options = engine_options(config | changed, tmp_path, gpus, 0, 300, 1)
        return options.get("compilation_config", {}).get("cudagraph_capture_sizes")

    assert sizes(1)[-1] == sizes(1, max_num_seqs=4096)[-1] == 1024
    assert sizes(1, max_num_seqs=20) == [1, 2, 4, 8, 16, 20, 24, 32]
    assert sizes(1, enforce_eager=True) is sizes(0) is None


def test_jobs_that_differ_in_length_only_share_what_is_compiled(tmp_path):
    config = demo_config()["engine"]["vllm"]
    (tmp_path / "config.json").write_text('{"max_position_embeddings": 2048}')
    shared = engine_options(config, tmp_path, 0, 0, 300, 1)
    assert shared == engine_options(config, tmp_path, 0, 0, 1024, 1)
    assert shared["max_model_len"] == 1024
    assert engine_options(config, tmp_path, 0, 0, 1025, 1)["max_model_len"] == 2048
    (tmp_path / "config.json").write_text('{"max_position_embeddings": 1000}')
    assert engine_options(config, tmp_path, 0, 0, 900, 1)["max_model_len"] == 900
    assert engine_options(config | {"max_model_len": 640}, tmp_path, 0, 0, 900, 1)["max_model_len"] == 640


def test_engines_a_gpu_and_gpus_an_engine_exclude_each_other():
    raw = demo_config()
    raw["engine"]["vllm"] |= {"engines_per_gpu": 2, "tensor_parallel_size": 2}
    with pytest.raises(UserError, match="engines_per_gpu and tensor_parallel_size"):
        load(raw)


def test_the_shape_is_abels():
    """7,241,732,096 weights, those of Mistral-7B."""
    s = SHAPES["abel"][1]
    kv = s["hidden_size"] // s["num_attention_heads"] * s["num_key_value_heads"]
    layer = s["hidden_size"] * (2 * s["hidden_size"] + 2 * kv + 3 * s["intermediate_size"] + 2)
    assert s["num_hidden_layers"] * layer + s["hidden_size"] * (2 * s["vocab_size"] + 1) == 7_241_732_096
    assert len(train_tokenizer(1000, "Question:", 0)) == 1000


@pytest.mark.e2e
@pytest.mark.runs
def test_the_whole_benchmark_at_toy_size(tmp_path):
    folder = clone_to(tmp_path / "clone")
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "benchmark_report", "--configfile"]
    command.append("configs/benchmark.yaml")
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    environment["PATH"] = f"{os.path.dirname(sys.executable)}:{environment['PATH']}"
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((folder / "results/benchmark/benchmark_report.json").read_text())
    rows = {row["mode"]: row for row in found["comparison"]}
    assert rows["pipeline"]["kind"] == "measured"
    assert rows["one_at_a_time"]["kind"] == "extrapolated"
    assert rows["one_question"]["kind"] == "not measured"
    assert found["modes"]["pipeline"]["made"] == 64
    # Random weights hardly ever end a text: requests have the length that was drawn for them.
    rollouts = (folder / "data/benchmark/round1/rollouts.jsonl").read_text().splitlines()
    reasons = [t["finish_reason"] for line in rollouts for t in json.loads(line)["trajectories"]]
    assert reasons.count("length") >= 60
    assert found["dpo"]["pairs"] == 12
    assert found["dpo"]["flops"] > 0
    assert found["dpo"]["step_mfu"] is None  # without a GPU there is no peak
    assert {row["phase"] for row in found["phases"]} >= {"merge", "generate", "train_dpo", "evaluate"}
    assert found["evaluations"]["round1"]["questions"] == 6
    page = (folder / "results/benchmark/benchmark_report.html").read_text()
    assert "extrapolated from 6 of 64" in page
    assert "Not measured here: one question a call" in page
    assert "random texts" in page
    again = subprocess.run([*command, "--dry-run"], cwd=folder, env=environment, capture_output=True, text=True)
    assert "Nothing to be done" in again.stdout + again.stderr
