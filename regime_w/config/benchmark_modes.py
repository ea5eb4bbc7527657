"""The benchmark's ways of generating: what each is about, in the order in which such scripts were written."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple


class Way(NamedTuple):
    label: str
    # What it changes in the config section `engine`, section by section.
    engine: Mapping[str, Any] = MappingProxyType({})
    gpus: int = 1  # least number that it needs
    call: str = "everything"  # what one call is given; a sample is measured where that is not everything
    batching: str = "all requests at once"
    per_gpu: bool = False  # one job a GPU, MODE-I-of-N, each with its part of the requests
    all_gpus: bool = False  # one engine over all of them
    questions: str | None = None  # the config's key that says how many; None: the pipeline's own rollouts
    model: str = "base"
    against: str | None = None  # the mode that its rate is held against
    kept: bool = False  # what a killed job has finished is kept, and only the rest is measured


MODES: dict[str, Way] = {
    "one_at_a_time": Way(
        "one trajectory at a time",
        {"name": "transformers", "transformers": {"mode": "one_at_a_time"}},
        gpus=0,
        call="one trajectory",
        batching="none, transformers",
    ),
    "one_question": Way(
        "one question a call",
        {"name": "vllm", "vllm": {"enforce_eager": True, "engines_per_gpu": 1, "offline_scheduler": False}},
        call="one question",
        batching="8 requests, vLLM eager",
    ),
    "pipeline": Way("this pipeline", gpus=0),
    "shards": Way("this pipeline, one engine a GPU", gpus=2, per_gpu=True, against="pipeline"),
    "tensor_parallel": Way(
        "this pipeline, tensor parallel",
        {"vllm": {"engines_per_gpu": 1}},
        gpus=2,
        all_gpus=True,
        against="pipeline",
    ),
    "full": Way("this pipeline, all questions", questions="full_questions", kept=True),
    "full_shards": Way(
        "this pipeline, all questions, one engine a GPU",
        gpus=2,
        per_gpu=True,
        questions="full_questions",
        against="full",
        kept=True,
    ),
    "small": Way(
        "small model, several engines a GPU",
        {"vllm": {"engines_per_gpu": "auto"}},
        questions="small_questions",
        model="small",
        against="small_one_engine",
    ),
    "small_one_engine": Way(
        "small model, one engine",
        {"vllm": {"engines_per_gpu": 1}},
        questions="small_questions",
        model="small",
    ),
}
COMPARED = [mode for mode, way in MODES.items() if way.questions is None]
SLOW = [mode for mode, way in MODES.items() if way.call != "everything"]


def jobs_of(modes: list[str], gpus: int) -> list[str]:
    """The benchmark's jobs on so many GPUs: a mode that needs more is left out, one with a job a GPU becomes so many."""
    jobs = []
    for mode in modes:
        if gpus >= MODES[mode].gpus:
            jobs += [f"{mode}-{index}-of-{gpus}" for index in range(gpus)] if MODES[mode].per_gpu else [mode]
    return jobs
