"""Decisions made before any job runs: does the config fit this machine, how many shards are worth it."""

import ast
import math
import os
from typing import Any

from regime_w.config.schema import MOST_SHARDS
from regime_w.runtime.errors import UserError

# A job's start with a cold compile cache costs about as much as generating this many trajectories with a 7B model on an H100
# (docs/scaling.md): with fewer a shard, GPUs would mostly start engines.
TRAJECTORIES_A_START = 8_000
# With more a shard, a slow GPU or a preemption holds the others up, and a job outgrows SLURM's time limit.
TRAJECTORIES_A_SHARD = 400_000


def planned_gpus(here: int, main_process: bool) -> int:
    """The GPUs that the plan is made for: a cluster's node parses the Snakefile again and has others, so the main
    process hands its number on in the environment."""
    if main_process:
        os.environ["REGIME_W_GPU_CAP"] = str(here)
    return int(os.environ.get("REGIME_W_GPU_CAP", here))


def check_paths(config: dict[str, Any]) -> None:
    """UserError for a local file or folder of the config that is not there, or that no rule can name."""
    wanted = [
        *((f"questions.{name}.path", config["questions"][name]["path"]) for name in ("train", "eval")),
        ("base_model.path", config["base_model"]["path"]),
        ("sft.adapter", config["sft"]["adapter"]),
    ]
    for key, path in wanted:
        if path and {"{", "}"} & set(path):
            raise UserError(f"{key}: {path} has braces, which Snakemake takes for wildcards; rename it")
        if path and not os.path.exists(path):
            raise UserError(f"{key}: {path} does not exist; check the path in the config")
    check_verifier("task.verifier", config["task"]["verifier"])


def verifier_file(verifier: str) -> list[str]:
    """The file of a user's own verifier, which what grades depends on; none for the others."""
    path, _, name = verifier.rpartition(":")
    return [path] if name and path.endswith(".py") else []


def check_verifier(key: str, verifier: str) -> None:
    """UserError where a user's own verifier names a file that is not there or holds no such function."""
    for path in verifier_file(verifier):
        name = verifier.rpartition(":")[2]
        try:
            with open(path, "rb") as file:
                tree = ast.parse(file.read(), path)
        except OSError as error:
            raise UserError(f"{key}: {path}: {error.strerror}; check the path in the config") from None
        except (SyntaxError, ValueError) as error:
            raise UserError(f"{key}: {path}: not Python ({error}); mend it") from None
        if name not in _names(tree):
            own = ", ".join(node.name for node in tree.body if isinstance(node, ast.FunctionDef)) or "none"
            raise UserError(f"{key}: {path} has no function {name!r}, it has {own}; name one of them")


def _names(tree: ast.Module) -> set[str]:
    """What a file defines, assigns or imports, anywhere in it."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.alias):
            found.add(node.asname or node.name)
    return found


def check_gpus(config: dict[str, Any], gpus: int, jobs: int) -> None:
    """UserError where a job asks for more GPUs than the whole run may use (0 is a run on CPUs), or for several where `jobs`
    share each."""
    for key, wanted in (
        ("engine.vllm.tensor_parallel_size", config["engine"]["vllm"]["tensor_parallel_size"]),
        ("sft.gpus", config["sft"]["gpus"]),
        ("rejection_sampling.gpus", config["rejection_sampling"]["gpus"]),
        ("dpo.gpus", config["dpo"]["gpus"]),
    ):
        if wanted not in ("auto", 0, 1) and wanted > gpus:
            raise UserError(f"{key} is {wanted} but {gpus} GPU(s) are here; lower it, or run where there are {wanted}")
        if wanted not in ("auto", 0, 1) and jobs > 1:
            raise UserError(
                f"{key} is {wanted}, and a job of several GPUs cannot share them; unset REGIME_W_JOBS_PER_GPU"
            )


def auto_shards(config: dict[str, Any], gpus: int) -> list[str]:
    """Names of the generate jobs, `I-of-N`: as configured, or as many as `shards_for` says."""
    wanted = config["generate"]["shards"]
    if wanted == "auto":
        work = config["generate"]["n_samples"] * len(config["arms"])
        wanted = shards_for(work, max(1, gpus // config["engine"]["vllm"]["tensor_parallel_size"]))
        wanted = min(wanted, MOST_SHARDS)
    return [f"{index}-of-{wanted}" for index in range(wanted)]


def shards_for(trajectories: int, engines: int) -> int:
    """One shard an engine as far as the work outweighs the starts; several, where one would be very large."""
    busy = min(engines, math.ceil(trajectories / TRAJECTORIES_A_START))
    return busy * math.ceil(trajectories / (busy * TRAJECTORIES_A_SHARD))
