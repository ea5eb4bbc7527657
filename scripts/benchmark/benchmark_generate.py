"""Measure one way of generating: time, tokens and GPU use of a sample or of all requests.

    python -m scripts.benchmark.benchmark_generate --params "{...}" --mode pipeline \
        --model checkpoints/benchmark/base \
        --questions data/benchmark/questions/train.jsonl --work data/benchmark/generate/pipeline.work \
        --output data/benchmark/generate/pipeline.json --gpus 1

The modes are those of regime_w/config/benchmark_modes.py; of one with a job a GPU it is MODE-I-of-N.
Lengths are drawn beforehand (`engine.random_lengths`), so that every mode works on the same requests.
Output: see `record`. What a killed full job has finished is kept, and only the rest is measured.
"""

import argparse
import logging
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from regime_w.config.benchmark_modes import MODES, SLOW
from regime_w.models.manifests import HashedFolder
from regime_w.runtime.compute import compile_caches
from regime_w.runtime.errors import UserError, run
from regime_w.runtime.gpu import UsageSampler, visible_gpus
from regime_w.runtime.records import fingerprint, from_argument, read_json
from regime_w.runtime.seals import check, write_record
from regime_w.sampling.collect import Ask, Setup, Started, collect, length_of, load_prompts, start_engine
from regime_w.sampling.engines.interface import Completion, Request
from regime_w.sampling.engines.vllm import engines_per_gpu
from regime_w.sampling.rollouts import make_asks, rollout_setup, select

log = logging.getLogger(__name__)

WARM_UP = 0.25  # share of the requests finished before the rate is called steady


class Timeline:
    """When requests finished, and what the GPUs did meanwhile. `observe(None)` starts it."""

    def __init__(self, requests: int, places: int) -> None:
        self.requests, self.places = requests, places
        self.sampler = UsageSampler(visible_gpus())
        self.finished: list[tuple[float, int]] = []
        self.start = 0.0
        self.samples_before_tail = 0

    def observe(self, completion: Completion | None) -> None:
        if completion is None:
            self.sampler.__enter__()
            self.start = time.monotonic()
            return
        self.finished.append((time.monotonic() - self.start, completion.num_tokens))
        if self.requests - len(self.finished) >= self.places:
            self.samples_before_tail = min(map(len, self.sampler.samples.values()), default=0)

    def close(self) -> None:
        self.sampler.__exit__()

    def summary(self) -> dict[str, Any]:
        """Totals and shares before and in the tail, which begins when no request waits for a place any more."""
        seconds, tokens = self.finished[-1][0], sum(tokens for _, tokens in self.finished)
        cut = len(self.finished) - self.places  # requests finished when the tail begins
        found: dict[str, Any] = {
            "made": len(self.finished),
            "tokens": tokens,
            "seconds": seconds,
            "tokens_per_second": tokens / seconds,
            "utilisation": self._utilisation(0, None),
            "gpus": self.sampler.summary(),
            "steady": None,
            "tail": None,
        }
        first = round(WARM_UP * len(self.finished))
        if 1 <= first < cut:
            (begin, _), (end, _) = self.finished[first - 1], self.finished[cut - 1]
            rate = sum(tokens for _, tokens in self.finished[first:cut]) / (end - begin)
            found["steady"] = {
                "tokens_per_second": rate,
                "seconds": end - begin,
                "utilisation": self._utilisation(0, self.samples_before_tail),
            }
            found["tail"] = {
                "seconds": seconds - end,
                "utilisation": self._utilisation(self.samples_before_tail, None),
                "cost_seconds": seconds - tokens / rate,
            }
        return found

    def _utilisation(self, first: int, last: int | None) -> float | None:
        """Mean over GPUs and samples in per cent; None without a GPU."""
        seen = [sample[0] for samples in self.sampler.samples.values() for sample in samples[first:last]]
        return sum(seen) / len(seen) if seen else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--params", type=from_argument, required=True, help="generate, engine, arms, prompt, styles, seed, sizes"
    )
    parser.add_argument("--mode", required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--questions", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="journal")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--gpus", type=int, default=0)
    parser.add_argument(
        "--jobs-per-gpu", type=int, default=1, help="jobs that share the GPU, each with its part of the memory"
    )
    args = parser.parse_args()
    mode, _, shard = args.mode.partition("-")
    params = settings(args.params, mode, args.gpus)
    params["engine"]["vllm"]["jobs_per_gpu"] = args.jobs_per_gpu
    if not MODES[mode].kept:
        shutil.rmtree(args.work, ignore_errors=True)
    compiled_before = compiled()

    model = HashedFolder(args.model)
    check(args.questions)
    questions = select(args.questions, shard or "0-of-1", params["generate"]["n_samples"])
    setup = rollout_setup(model, params, args.gpus, args.work, args.mode)
    with start_engine(setup) as started:
        asks = make_asks(questions, params, 1, load_prompts(setup, params))
        measure = measure_calls if mode in SLOW else measure_all
        found = measure(asks, params, setup, started)
    found["compile_cache"] = None if found["engine"] != "vllm" else "warm" if compiled() <= compiled_before else "cold"
    write_record(args.output, record(args.mode, asks, params, args.gpus, found))
    log.info(
        f"{args.mode}: {found['tokens']} tokens in {found['seconds']:.1f} s = {found['tokens_per_second']:,.0f} tokens/s"
    )


def compiled() -> set[Path]:
    """What vLLM has compiled in this folder so far."""
    root = os.environ.get("VLLM_CACHE_ROOT") or compile_caches()["VLLM_CACHE_ROOT"]
    cache = Path(root, "torch_compile_cache")
    return {*cache.glob("*"), *cache.glob("torch_aot_compile/*")}


def settings(params: dict[str, Any], mode: str, gpus: int) -> dict[str, Any]:
    """The pipeline's own parameters, changed only in what the mode is about."""
    way, engine, generate = MODES[mode], dict(params["engine"]), params["generate"]
    for key, change in way.engine.items():
        engine[key] = engine[key] | change if isinstance(change, dict) else change
    if way.all_gpus:
        engine["vllm"] = engine["vllm"] | {"tensor_parallel_size": gpus}
    if way.questions:
        generate = generate | {"n_samples": params["sizes"][way.questions]}
    return params | {"engine": engine, "generate": generate}


def measure_all(asks: Sequence[Ask], params: dict[str, Any], setup: Setup, started: Started) -> dict[str, Any]:
    """Time all requests, handed over at once."""
    vllm = params["engine"]["vllm"]
    engines = engines_per_gpu(vllm, setup.model.folder, setup.gpus)
    timeline = Timeline(len(asks), engines * vllm["max_num_seqs"])
    collect(asks, setup, started, observe=timeline.observe)
    if not timeline.finished:
        shutil.rmtree(setup.journal)
        raise UserError(
            f"{setup.journal} held every trajectory, so none was left to time; it is emptied now: run again"
        )
    timeline.close()
    return timeline.summary() | read_json(setup.journal / f"{setup.name}.timing.json") | {"engines": engines}


def measure_calls(asks: Sequence[Ask], params: dict[str, Any], setup: Setup, started: Started) -> dict[str, Any]:
    """Time a sample of calls, each waited for, after one call that is not counted."""
    one_question = setup.name == "one_question"
    size = len(params["arms"]) if one_question else 1
    sample = params["sizes"]["sample_questions"] * size if one_question else params["sizes"]["sample_trajectories"]
    # Spread over all requests: neighbours are of one question.
    starts = range(0, len(asks) - size + 1, max(size, len(asks) * size // sample // size * size))
    calls = [requests_of(asks[start : start + size], params) for start in starts][: sample // size]
    timeline = Timeline(sum(map(len, calls)), 1)
    started.engine.load(max(len(r.prompt_ids) + r.max_new_tokens for call in calls for r in call))
    ready = time.monotonic() - started.at
    list(started.engine.generate(requests_of(asks[-size:], params)))
    timeline.observe(None)
    for call in calls:
        for completion in started.engine.generate(call):
            timeline.observe(completion)
    timeline.close()
    apart = {"engine": started.name, "engines": 1, "start_seconds": ready, "steady": None, "tail": None}
    return timeline.summary() | apart


def requests_of(asks: Sequence[Ask], params: dict[str, Any]) -> list[Request]:
    generate, lengths = params["generate"], params["engine"]["random_lengths"]
    made = []
    for ask in asks:
        key = fingerprint([ask.prompt_ids, ask.temperature, ask.seed])
        most = length_of(key, lengths, generate["max_new_tokens"])
        made.append(Request(key, ask.prompt_ids, ask.temperature, generate["top_p"], most, ask.seed))
    return made


def record(mode: str, asks: Sequence[Ask], params: dict[str, Any], gpus: int, found: dict[str, Any]) -> dict[str, Any]:
    """What was measured, and of how many requests it is a sample."""
    return found | {
        "mode": mode,
        "call": MODES[mode.partition("-")[0]].call,
        "gpu_count": gpus,
        "requests": len(asks),
        "questions": params["generate"]["n_samples"],
        "prompt_tokens_mean": sum(len(ask.prompt_ids) for ask in asks) / len(asks),
        "tokens_mean": found["tokens"] / found["made"],
        "max_num_seqs": params["engine"]["vllm"]["max_num_seqs"],
    }


if __name__ == "__main__":
    run(main)
