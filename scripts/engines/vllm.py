"""vLLM, offline: thousands of requests in flight, each finished one handed out at once.

One engine a GPU; `tensor_parallel_size` above 1 only for models that do not fit one GPU. The engine neither tokenises
nor detokenises (unless stop texts are asked for): that is CPU work which bounds small models.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scripts.compute import out_of_memory
from scripts.engines.interface import Completion, Request
from scripts.errors import UserError


@contextmanager
def open_vllm(model: Path, params: dict[str, Any], gpus: int, seed: int, max_model_len: int) -> Iterator["VllmEngine"]:
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    # Compiled graphs are kept between jobs; vLLM keys them by model and settings and writes them atomically.
    os.environ.setdefault("VLLM_CACHE_ROOT", str(Path(".cache/vllm").resolve()))
    import torch
    from vllm import LLM

    tensor_parallel_size = params["tensor_parallel_size"]
    if gpus and tensor_parallel_size > gpus:
        raise UserError(
            f"engine.vllm.tensor_parallel_size is {tensor_parallel_size} but this job has {gpus} GPU(s); lower it or give it more"
        )
    options: dict[str, Any] = {}
    if params["max_num_batched_tokens"]:
        options["max_num_batched_tokens"] = params["max_num_batched_tokens"]
    if gpus:
        options["gpu_memory_utilization"] = params["gpu_memory_utilization"]
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
