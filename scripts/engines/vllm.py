"""vLLM, offline: thousands of requests in flight, each finished one handed out at once.

One engine a GPU; `tensor_parallel_size` above 1 only for models that do not fit one GPU, `engines_per_gpu` above 1 only
for models so small that one engine's CPU side leaves the GPU idle. The engine neither tokenises nor detokenises (unless
stop texts are asked for): that is CPU work which bounds small models.
"""

import multiprocessing
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from scripts.compute import out_of_memory, threads
from scripts.engines.interface import Completion, Request
from scripts.errors import UserError

SMALL_BYTES = 1e9  # weights of a model that auto gives several engines
ENGINES_OF_SMALL = 6
KV_SHARE = 0.6  # of an engine's share of the GPU; the rest is for weights, activations and graphs
LEAVE_SECONDS = 20.0


@contextmanager
def open_vllm(
    model: Path, params: dict[str, Any], gpus: int, seed: int, max_model_len: int
) -> Iterator["VllmEngine | VllmEngines"]:
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    # Compiled graphs are kept between jobs; vLLM keys them by model and settings and writes them atomically.
    os.environ.setdefault("VLLM_CACHE_ROOT", str(Path(".cache/vllm").resolve()))
    engines = engines_per_gpu(params, model, gpus)
    opened = (
        _one_engine(model, params, gpus, seed, max_model_len)
        if engines == 1
        else _several_engines(engines, model, params, gpus, seed, max_model_len)
    )
    with opened as engine:
        yield engine


def engines_per_gpu(params: dict[str, Any], model: Path, gpus: int) -> int:
    """Engines that share the GPU: as set, or several for a small model where there are CPU threads for them."""
    if params["engines_per_gpu"] != "auto":
        return params["engines_per_gpu"]
    weights = sum(path.stat().st_size for path in model.glob("*.safetensors"))
    if not gpus or params["tensor_parallel_size"] > 1 or weights >= SMALL_BYTES:
        return 1
    return min(ENGINES_OF_SMALL, threads())  # each keeps a CPU core busy


@contextmanager
def _one_engine(
    model: Path, params: dict[str, Any], gpus: int, seed: int, max_model_len: int, share: int = 1
) -> Iterator["VllmEngine"]:
    """An engine with one `share`-th of the GPU's memory."""
    import torch
    from vllm import LLM

    tensor_parallel_size = params["tensor_parallel_size"]
    if gpus and tensor_parallel_size > gpus:
        raise UserError(
            f"engine.vllm.tensor_parallel_size is {tensor_parallel_size} but this job has {gpus} GPU(s); lower it or give it more"
        )
    options: dict[str, Any] = {}
    if params["final_only"]:
        from scripts.engines.vllm_scheduler import FinalOnlyScheduler

        options |= {"scheduler_cls": FinalOnlyScheduler, "async_scheduling": True}
    if params["max_num_batched_tokens"]:
        options["max_num_batched_tokens"] = params["max_num_batched_tokens"]
    if gpus:
        options["gpu_memory_utilization"] = params["gpu_memory_utilization"] / share
    if gpus and share > 1:
        options["kv_cache_memory_bytes"] = _kv_cache_bytes(options["gpu_memory_utilization"], model)
    try:
        llm = LLM(
            model=str(model),
            tensor_parallel_size=tensor_parallel_size,
            max_num_seqs=params["max_num_seqs"],
            max_model_len=params["max_model_len"] or max_model_len,
            dtype=params["dtype"],
            enforce_eager=params["enforce_eager"],
            load_format=params["load_format"],
            seed=seed,
            disable_log_stats=True,
            **options,
        )
    except torch.OutOfMemoryError as error:
        raise out_of_memory(error, "engine.vllm.gpu_memory_utilization or max_num_seqs") from None
    except (ValueError, RuntimeError) as error:
        if "memory" in str(error).lower():
            raise out_of_memory(error, "engine.vllm.gpu_memory_utilization or max_num_seqs") from None
        raise
    try:
        yield VllmEngine(llm, params["in_flight"])
    finally:
        llm.llm_engine.engine_core.shutdown()


def _kv_cache_bytes(utilization: float, model: Path) -> int:
    """KV cache of one of several engines, set beforehand: vLLM would measure what its neighbours allocate as its own."""
    from vllm.platforms import current_platform

    weights = sum(path.stat().st_size for path in model.glob("*.safetensors"))
    size = int(KV_SHARE * utilization * current_platform.get_device_total_memory()) - weights
    if size <= 0:
        raise UserError("the GPU is too small for so many engines of this model; lower engine.vllm.engines_per_gpu")
    return size


@contextmanager
def _several_engines(engines: int, model: Path, *arguments: Any) -> Iterator["VllmEngines"]:
    """Engines in processes of their own, started together; they end when the pipes to them close, or we die."""
    context = multiprocessing.get_context("spawn")
    pipes: list[Connection] = []
    workers: list[Any] = []
    print(f"{engines} engines share the GPU (engine.vllm.engines_per_gpu)", flush=True)
    try:
        for _ in range(engines):
            ours, theirs = context.Pipe()
            worker = context.Process(target=_serve, args=(theirs, engines, model, *arguments))
            worker.start()
            theirs.close()  # so that the death of a worker ends its pipe
            pipes.append(ours)
            workers.append(worker)
        for pipe in pipes:
            _receive(pipe)
        yield VllmEngines(pipes)
    finally:
        for pipe in pipes:
            pipe.close()
        for worker in workers:
            worker.join(LEAVE_SECONDS)
            if worker.is_alive():
                worker.kill()
                worker.join()


def _serve(
    pipe: Connection, engines: int, model: Path, params: dict[str, Any], gpus: int, seed: int, max_model_len: int
) -> None:
    """A worker: says None when ready, then answers each list of requests with its completions and None."""
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # this process is the engine's own already
    # KeyboardInterrupt reaches us too on a terminal; the parent tells of it.
    with suppress(EOFError, BrokenPipeError, ConnectionResetError, KeyboardInterrupt):
        try:
            with _one_engine(model, params, gpus, seed, max_model_len, share=engines) as engine:
                pipe.send(None)
                while True:
                    for completion in engine.generate(pipe.recv()):
                        pipe.send(completion)
                    pipe.send(None)
        except UserError as error:
            pipe.send(error)


def _receive(pipe: Connection) -> Completion | None:
    try:
        message = pipe.recv()
    except (EOFError, ConnectionResetError):
        raise UserError(
            "one of the vLLM engines that share the GPU died; what is finished is kept: run again, or lower"
            " engine.vllm.engines_per_gpu"
        ) from None
    if isinstance(message, UserError):
        raise message
    return message


class VllmEngines:
    """Several engines as one: each request goes to the engine that the hash of its key names."""

    def __init__(self, pipes: list[Connection]) -> None:
        self.pipes = pipes

    def generate(self, requests: Sequence[Request]) -> Iterator[Completion]:
        shares: list[list[Request]] = [[] for _ in self.pipes]
        for request in requests:
            shares[zlib.crc32(request.key.encode()) % len(shares)].append(request)
        for pipe, share in zip(self.pipes, shares, strict=True):
            with suppress(BrokenPipeError):  # dead: reading from it says so
                pipe.send(share)
        running: list[Any] = list(self.pipes)
        while running:
            for ready in wait(running):
                completion = _receive(ready)  # type: ignore[arg-type]
                if completion is None:
                    running.remove(ready)
                else:
                    yield completion


class VllmEngine:
    def __init__(self, llm: Any, in_flight: int) -> None:
        self.llm, self.engine, self.in_flight = llm, llm.llm_engine, in_flight
        self.tokenizer = llm.get_tokenizer()

    def generate(self, requests: Sequence[Request]) -> Iterator[Completion]:
        """Keep `in_flight` requests in the engine and yield completions as they finish."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind
        from vllm.v1.engine.exceptions import EngineDeadError

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
                        detokenize=bool(request.stop),
                        output_kind=RequestOutputKind.FINAL_ONLY,
                    ),
                )
            if not running:
                return
            try:
                finished = [output for output in self.engine.step() if output.finished]
            except EngineDeadError as error:
                raise UserError(f"the vLLM engine died ({error}); what is finished is kept: run again") from None
            for output in finished:
                request = running.pop(output.request_id)
                result = output.outputs[0]
                yield Completion(
                    key=request.key,
                    # A stop text ends inside the tokens: the engine's own text is cut before it.
                    text=result.text
                    if request.stop
                    else self.tokenizer.decode(result.token_ids, skip_special_tokens=True),
                    num_tokens=len(result.token_ids),
                    finish_reason="stop" if result.finish_reason == "stop" else "length",
                )
