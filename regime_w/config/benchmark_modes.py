"""Ways of generating that the benchmark measures, in the order in which such scripts were written.

At the figures' names: one call's worth of requests, or all of them, on the benchmark's model or on a small one.
"""

from typing import NamedTuple


class Mode(NamedTuple):
    """`jobs`: one alone, or one a GPU. `least_gpus` of the machine, below which it is left out."""

    label: str
    does: str
    least_gpus: int = 1
    a_job_a_gpu: bool = False


MODES = {
    "one_at_a_time": Mode("one trajectory at a time", "transformers, one trajectory a call; on a sample", 0),
    "one_question": Mode(
        "one question a call", "vLLM in eager mode, the trajectories of one question a call; on a sample"
    ),
    "pipeline": Mode("this pipeline", "every request handed over at once, as `generate` does", 0),
    "shards": Mode("this pipeline, one engine a GPU", "as pipeline, one engine a GPU", 2, True),
    "tensor_parallel": Mode("this pipeline, tensor parallel", "as pipeline, one engine over all GPUs", 2),
    "full": Mode("this pipeline, all questions", "as pipeline, on all training questions"),
    "full_shards": Mode("this pipeline, all questions, one engine a GPU", "as full, one engine a GPU", 2, True),
    "small": Mode("small model, several engines a GPU", "as pipeline, on a small model, `engines_per_gpu: auto`"),
    "small_one_engine": Mode("small model, one engine", "as small, with one engine"),
}
