"""vLLM, offline: thousands of requests in flight, each finished one handed out at once.

One engine a GPU; `tensor_parallel_size` above 1 only for models that do not fit one GPU, `engines_per_gpu` above 1 only
for models so small that one engine's CPU side leaves the GPU idle. The engine neither tokenises nor detokenises (unless
stop texts are asked for): that is CPU work which bounds small models.

Each engine lives in a process of its own, vLLM's core inside it. There the model has the same name in every job, so that
a graph compiled once serves all models of one shape: vLLM keys its cache by that name, among others.
"""

import gc
import json
import logging
import multiprocessing
import os
import re
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from regime_w.models.folders import trusted
from regime_w.runtime.compute import compile_caches, out_of_memory, threads
from regime_w.runtime.errors import UserError
from regime_w.runtime.gpu import memory_of_a_gpu
from regime_w.sampling.engines.interface import CannotSwitch, Completion, Request, text_of
from regime_w.tasks.prompts import end_ids

log = logging.getLogger(__name__)

# Most engines that auto gives a model with weights below so many bytes: one engine's CPU side is the bound of small ones. On
# one H200 three engines of a 1.5B made 2.4 times the tokens of one (docs/studies/qwen_coder.md).
ENGINES_OF_BYTES = ((1e9, 6), (4e9, 3))
MODEL_SHARE = 0.6  # of an engine's part of the GPU, for weights and KV cache; the rest is for activations and graphs
LEAVE_SECONDS = 20.0
# What vLLM only warns of when it takes other weights; rotary embeddings have none, they come from the config.
KEPT_OLD = re.compile(r"(?<!RotaryEmbedding): Failed to load weights|weights were not loaded")
# Lengths and sizes in vLLM's cache key are rounded, so that jobs which differ a little share what was compiled.
LENGTH_STEP = 1024
KV_STEP = 2**28
# Batch sizes with a CUDA graph, of which each engine captures two; vLLM's own 51 end at 512 and take three times as long. A
# batch is padded to the next: only the tail of a job has much less than max_num_seqs.
GRAPH_SIZES = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 320, 384, 448, 512, 640, 768, 896, 1024)


@contextmanager
def open_vllm(model: Path, params: dict[str, Any], gpus: int, seed: int) -> Iterator["VllmEngines"]:
    """Engines in processes of their own, which import vLLM at once; they end when the pipes to them close, or we die."""
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    for name, folder in compile_caches().items():
        os.environ.setdefault(name, folder)
    if gpus and params["tensor_parallel_size"] > gpus:
        raise UserError(
            f"engine.vllm.tensor_parallel_size is {params['tensor_parallel_size']} but this job has {gpus} GPU(s);"
            " lower it or give it more"
        )
    engines = engines_per_gpu(params, model, gpus)
    if engines > 1:
        log.info(f"{engines} engines share the GPU (engine.vllm.engines_per_gpu)")
    context = multiprocessing.get_context("spawn")
    pipes: list[Connection] = []
    workers: list[Any] = []
    opened = VllmEngines(
        model, pipes, lambda max_model_len: engine_options(params, model, gpus, seed, max_model_len, engines)
    )
    try:
        for _ in range(engines):
            ours, theirs = context.Pipe()
            worker = context.Process(target=_serve, args=(theirs, params["in_flight"], params["offline_scheduler"]))
            worker.start()
            theirs.close()  # so that the death of a worker ends its pipe
            pipes.append(ours)
            workers.append(worker)
        yield opened
    finally:
        for pipe in pipes:
            pipe.close()
        for worker in workers:
            worker.join(LEAVE_SECONDS if opened.loaded else 0)
            if worker.is_alive():
                worker.kill()
                worker.join()


def engines_per_gpu(params: dict[str, Any], model: Path, gpus: int) -> int:
    """Engines that share the GPU: as set, or several for a small model where there are CPU threads and memory for them."""
    if params["engines_per_gpu"] != "auto":
        return params["engines_per_gpu"]
    weights = _weights(model)
    most = next((engines for size, engines in ENGINES_OF_BYTES if weights < size), 1)
    if not gpus or params["tensor_parallel_size"] > 1 or most == 1:
        return 1
    if memory := memory_of_a_gpu():
        most = min(most, int(_for_models(params["gpu_memory_utilization"], memory) / (weights + KV_STEP)))
    return max(1, min(most // params.get("jobs_per_gpu", 1), threads()))  # each keeps a CPU core busy


def engine_options(
    params: dict[str, Any], model: Path, gpus: int, seed: int, max_model_len: int, engines: int
) -> dict[str, Any]:
    """Arguments of each of `engines` vLLM engines on one GPU, but its model; `max_model_len` is the longest request.

    `params` is the config section `engine.vllm`, with jobs_per_gpu where other jobs have a part of the GPU's memory.
    """
    options: dict[str, Any] = {
        "max_model_len": params["max_model_len"] or _rounded_length(model, max_model_len),
        "seed": seed,
        "disable_log_stats": True,
        "use_tqdm_on_load": False,
        **trusted(params),
        **{
            name: params[name]
            for name in ("tensor_parallel_size", "max_num_seqs", "dtype", "enforce_eager", "load_format")
        },
    }
    if params["max_num_batched_tokens"]:
        options["max_num_batched_tokens"] = params["max_num_batched_tokens"]
    if gpus and not params["enforce_eager"]:
        options["compilation_config"] = {"cudagraph_capture_sizes": _graph_sizes(params["max_num_seqs"])}
    sharing = engines * params.get("jobs_per_gpu", 1)
    if gpus:
        options["gpu_memory_utilization"] = params["gpu_memory_utilization"] / sharing
    if gpus and sharing > 1:
        options["kv_cache_memory_bytes"] = _kv_cache_bytes(options["gpu_memory_utilization"], model)
    return options


def _graph_sizes(max_num_seqs: int) -> list[int]:
    """Up to twice `max_num_seqs`, as vLLM: a batch that reads prompts too has more tokens than requests."""
    sizes = {size for size in GRAPH_SIZES if size <= 2 * max_num_seqs}
    return sorted(sizes | {min(max_num_seqs, GRAPH_SIZES[-1])})


def _weights(model: Path) -> int:
    """Bytes."""
    return sum(path.stat().st_size for path in model.glob("*.safetensors"))


def _rounded_length(model: Path, longest: int) -> int:
    """Tokens; what the model has positions for bounds the rounding, and vLLM refuses what is longer still."""
    rounded = -(-longest // LENGTH_STEP) * LENGTH_STEP
    positions = json.loads((model / "config.json").read_text()).get("max_position_embeddings") or 0
    return rounded if rounded <= positions else longest


def _for_models(utilization: float, memory: int) -> float:
    """Bytes for weights and KV cache."""
    return MODEL_SHARE * utilization * memory


def _kv_cache_bytes(utilization: float, model: Path) -> int:
    """KV cache of one of several engines, set beforehand: vLLM would measure what its neighbours allocate as its own."""
    from vllm.platforms import current_platform

    size = int(_for_models(utilization, current_platform.get_device_total_memory())) - _weights(model)
    if size < KV_STEP:
        raise UserError("the GPU is too small for so many engines of this model; lower engine.vllm.engines_per_gpu")
    return size // KV_STEP * KV_STEP


def _serve(pipe: Connection, in_flight: int, offline_scheduler: bool) -> None:
    """A worker: gets its model and options and says None when ready; then answers each list of requests with its completions
    and None, and each other model's folder with None once it has that model's weights."""
    # KeyboardInterrupt reaches us too on a terminal; the parent tells of it.
    with suppress(EOFError, BrokenPipeError, ConnectionResetError, KeyboardInterrupt):
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # this process is the engine's own already
        gc.disable()  # what a start makes stays: looking through it again and again is a fifth of the imports' time
        from vllm import LLM  # noqa: F401 - takes as long as the parent's own imports and prompts

        try:
            model, options = pipe.recv()
            with _one_engine(model, options, in_flight, offline_scheduler) as engine:
                gc.freeze()
                gc.enable()
                pipe.send(None)
                while True:
                    message = pipe.recv()
                    if isinstance(message, Path):
                        engine.switch(message)
                    else:
                        for completion in engine.generate(message):
                            pipe.send(completion)
                    pipe.send(None)
        except UserError as error:
            pipe.send(error)
    sys.stdout.flush()
    os._exit(0)  # Python would take seconds to take all of vLLM apart


def _know_class(model: Path) -> None:
    """Import the model's class into this process. Where its cache lacks the class, vLLM would start another for that, which
    first imports all of vLLM: 21 s (docs/studies/speed.md)."""
    from vllm import ModelRegistry

    for name in json.loads((model / "config.json").read_text()).get("architectures") or ():
        if known := ModelRegistry.models.get(name):
            ModelRegistry.register_model(name, known.load_model_cls())


@contextmanager
def _one_engine(
    model: Path, options: dict[str, Any], in_flight: int, offline_scheduler: bool
) -> Iterator["VllmEngine"]:
    import torch
    from vllm import LLM, SamplingParams

    if offline_scheduler:
        from regime_w.sampling.engines.vllm_scheduler import OfflineScheduler

        options = options | {"scheduler_cls": OfflineScheduler, "async_scheduling": True}
    # vLLM 0.23 warms every sampling feature up, with max_num_seqs requests; we use two.
    SamplingParams.for_sampler_warmup = staticmethod(lambda: SamplingParams(temperature=0.9, top_p=0.9, seed=0))
    _know_class(model)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "model").symlink_to(model)
        os.chdir(folder)
        try:
            llm = LLM(model="model", **options)
        except torch.OutOfMemoryError as error:
            raise out_of_memory(error, "engine.vllm.gpu_memory_utilization or max_num_seqs") from None
        except (ValueError, RuntimeError) as error:
            if "memory" in str(error).lower():
                raise out_of_memory(error, "engine.vllm.gpu_memory_utilization or max_num_seqs") from None
            raise
        try:
            yield VllmEngine(llm, in_flight, end_ids(llm.get_tokenizer(), model))
        finally:
            llm.llm_engine.engine_core.shutdown()


@contextmanager
def _vllm_warnings() -> Iterator[list[str]]:
    """What vLLM warns of in this process meanwhile."""
    heard: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: heard.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("vllm")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(min(level, logging.WARNING))
    try:
        yield heard
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)


def _receive(pipe: Connection) -> Completion | None:
    try:
        message = pipe.recv()
    except (EOFError, ConnectionResetError):
        raise UserError(
            "a vLLM engine died, its last words stand above; what is finished is kept: run again, or lower"
            " engine.vllm.engines_per_gpu or max_num_seqs"
        ) from None
    if isinstance(message, UserError):
        raise message
    return message


class VllmEngines:
    """One engine or several as one: each request goes to the engine that the hash of its key names."""

    def __init__(self, model: Path, pipes: list[Connection], options_for: Callable[[int], dict[str, Any]]) -> None:
        self.model, self.pipes, self.options_for, self.loaded = model, pipes, options_for, False

    def load(self, max_model_len: int) -> None:
        self.loaded = True
        self._tell((self.model.resolve(), self.options_for(max_model_len)))

    def switch(self, model: Path) -> None:
        self.model = model
        if self.loaded:
            self._tell(model.resolve())

    def generate(self, requests: Sequence[Request]) -> Iterator[Completion]:
        shares: list[list[Request]] = [[] for _ in self.pipes]
        for request in requests:
            shares[zlib.crc32(request.key.encode()) % len(shares)].append(request)
        self._send(shares)
        running: list[Any] = list(self.pipes)
        while running:
            for ready in wait(running):
                completion = _receive(ready)  # type: ignore[arg-type]
                if completion is None:
                    running.remove(ready)
                else:
                    yield completion

    def _tell(self, message: Any) -> None:
        """Send all workers the same and wait until they have done it."""
        self._send([message] * len(self.pipes))
        for pipe in self.pipes:
            _receive(pipe)

    def _send(self, messages: Sequence[Any]) -> None:
        for pipe, message in zip(self.pipes, messages, strict=True):
            with suppress(BrokenPipeError):  # dead: reading from it says so
                pipe.send(message)


class VllmEngine:
    def __init__(self, llm: Any, in_flight: int, ends: tuple[int, ...]) -> None:
        self.llm, self.engine, self.in_flight, self.ends = llm, llm.llm_engine, in_flight, ends
        self.tokenizer = llm.get_tokenizer()

    def switch(self, model: Path) -> None:
        """Weights in place of weights, where graphs and KV cache stay; the cached prompts are the old model's."""
        try:
            with _vllm_warnings() as warnings:
                self.llm.collective_rpc("reload_weights", kwargs={"weights_path": str(model)})
        except Exception as error:
            raise CannotSwitch(f"vLLM did not take the weights of {model} in place ({error!r:.200})") from None
        if kept := next(filter(KEPT_OLD.search, warnings), None):
            raise CannotSwitch(f"vLLM did not take all weights of {model} in place ({kept:.200})")
        if not self.llm.reset_prefix_cache():
            raise CannotSwitch(f"vLLM did not empty its prefix cache for {model}")

    def generate(self, requests: Sequence[Request]) -> Iterator[Completion]:
        """Keep `in_flight` requests in the engine and yield completions as they finish."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        waiting = iter(enumerate(requests))
        running: dict[str, Request] = {}
        while True:
            while len(running) < self.in_flight and (item := next(waiting, None)) is not None:
                index, request = item
                running[str(index)] = request
                self.engine.add_request(
                    str(index),
                    {"prompt_token_ids": list(request.prompt_ids)},
                    SamplingParams(
                        temperature=request.temperature,
                        top_p=request.top_p,
                        max_tokens=request.max_new_tokens,
                        seed=request.seed if request.temperature > 0 else None,
                        stop=list(request.stop) or None,
                        stop_token_ids=list(request.stop_ids) or None,
                        detokenize=bool(request.stop),
                        skip_special_tokens=False,
                        output_kind=RequestOutputKind.FINAL_ONLY,
                    ),
                )
            if not running:
                return
            for output in self.engine.step():
                if not output.finished:
                    continue
                request = running.pop(output.request_id)
                result = output.outputs[0]
                made = tuple(result.token_ids)
                yield Completion(
                    key=request.key,
                    text=text_of(self.tokenizer, made, (*self.ends, *request.stop_ids), request.stop),
                    token_ids=made,
                    finish_reason="stop" if result.finish_reason == "stop" else "length",
                )
