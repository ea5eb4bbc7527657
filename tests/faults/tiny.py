"""The toy run taken apart: what it makes, the command of each job."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from plans import dry_run
from toy import RUN, SET, TARGET

AT_ONCE = 2
ORDER = [
    "fetch_evaluation", "join_evaluation", "fetch_questions", "split_questions", "check_questions", "base_model",
    "train_sft", "merge_lora", "generate", "score_rollouts", "check_rollouts", "build_preferences", "train_dpo",
    "evaluate", "view_trajectories", "eval_report",
]  # fmt: skip


class Job(NamedTuple):
    """A job of the run: its log's name stands for it."""

    name: str
    rule: str
    outputs: list[str]
    command: str

    @property
    def log(self) -> str:
        return f"logs/{RUN}/{self.name}.log"


def jobs(folder: Path) -> list[Job]:
    """All jobs in an order in which they can run, with the shell commands that Snakemake would start."""
    made = []
    for job in dry_run(folder, *TARGET, "--forceall"):
        name = job.told["log"].removeprefix(f"logs/{RUN}/").removesuffix(".log")
        made.append(Job(name, job.rule, job.outputs, job.command))
    # A dry run lists a target after what it needs, but not always its other needs: by depth of the pipeline instead.
    return sorted(made, key=lambda job: ORDER.index(job.rule))


def leftovers(job: Job) -> list[str]:
    """What a job writes beside its declared outputs: folders that are being made, and what it resumes from."""
    folders = [output.removesuffix(".sha256") for output in job.outputs if output.endswith(".sha256")]
    found = [f"{folder}{ending}" for folder in folders for ending in (".work", ".partial")]
    if job.rule == "generate":
        found.append(f"data/{RUN}/round1/journal/{Path(job.name).name}.jsonl")
    if job.rule == "evaluate":
        found.append(f"data/{RUN}/answers/{SET}/{Path(job.name).name}.journal")
    return found


def written(job: Job, folder: Path) -> int:
    """Bytes of all that the job writes, its log too."""
    paths = [folder / name for name in [*job.outputs, *leftovers(job), job.log]]
    total = 0
    for path in paths:
        with suppress(OSError):  # files come and go
            for file in path.rglob("*") if path.is_dir() else [path]:
                total += file.stat().st_size
    return total


def remove(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def start(job: Job, folder: Path, output: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
    """Start the job's shell as Snakemake does, in a process group of its own, its declared outputs removed."""
    remove(folder, *(name for name in [*job.outputs, job.log] if (folder / name).exists()))
    return subprocess.Popen(
        ["bash", "-c", f"set -euo pipefail; {job.command}"],
        cwd=folder, env=environment(), stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip


def environment() -> dict[str, str]:
    return os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }


def results(folder: Path) -> dict[str, str]:
    """What the run made, as SHA-256 by path: all that must not depend on what happened on the way.

    Left out: records of time (usage, timing, logs), checkpoints to resume from, and the hidden temporary file that a kill
    in the middle of a write leaves. Of manifests, training records and the report what was measured is left out, and with it
    the manifests' seals.
    """
    found = {}
    for top in ("data", "checkpoints", "results"):
        for path in sorted((folder / top).rglob("*")):
            name = path.relative_to(folder)
            passed_over = any(
                part.startswith(".") or part.endswith((".work", "journal", ".sha256", ".seal")) for part in name.parts
            )
            if path.is_file() and not passed_over:
                found[str(name)] = hashlib.sha256(_timeless(path)).hexdigest()
    return found


def _timeless(path: Path) -> bytes:
    if path.name in ("manifest.json", "training.json", "eval_report.json"):
        return json.dumps(_without_times(json.loads(path.read_text())), sort_keys=True).encode()
    if path.name in ("eval_report.html", "eval_report.md"):
        return b""  # drawn from the JSON, times and all
    return path.read_bytes()


def _without_times(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_times(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    return {
        key: _without_times(entry)
        for key, entry in value.items()
        if key
        not in ("seconds", "step_seconds", "usage", "training", "provenance", "training.json", "fingerprint", "adapter")
    }


def torn(job: Job, folder: Path, expected: dict[str, str]) -> list[str]:
    """Outputs of the job, and files in its folders, that are there but not as expected."""
    own = tuple(f"{output}/" for output in job.outputs)
    return [
        name
        for name, content in results(folder).items()
        if (name in job.outputs or name.startswith(own)) and content != expected.get(name)
    ]


def journalled(folder: Path) -> Counter[str]:
    """How often each trajectory stands in the run's journals, torn last lines left out."""
    keys: Counter[str] = Counter()
    for path in (folder / "data").rglob("*journal/*.jsonl"):
        keys.update(json.loads(line)["key"] for line in path.read_bytes().splitlines(True) if line.endswith(b"\n"))
    return keys
