"""What a stage says: every line begins with the time and its job's name, so that jobs side by side can be told apart.

    12:03:41 generate 3-of-8  2,561/7,976 trajectories, 31.2/s, 4,455 tokens/s, 82 s so far, about 174 s left

A module has `log = logging.getLogger(__name__)` and says `log.info(...)`; `run` in errors.py calls `setup`. What a whole
run is for, its summary, is said with `say_last`.
"""

import logging
import os
import re
import shutil
import sys
import time
from pathlib import Path
from typing import TextIO

JOB = "REGIME_W_JOB"  # the name that regime_w.runtime.job hands on to its stage
SUMMARIES = "REGIME_W_SUMMARIES"  # folder in which Snakefile collects what is to stand at the end of the terminal
OURS = ("regime_w", "scripts", "__main__")


def setup() -> None:
    """Show on standard output what our modules say, and other libraries' warnings. What it cannot encode is escaped."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    root = logging.getLogger()
    if not any(isinstance(handler, _Output) for handler in root.handlers):
        root.addHandler(_Output())
    for name in OURS:
        logging.getLogger(name).setLevel(logging.INFO)
    logging.captureWarnings(True)


class _Output(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to what sys.stdout is at the time."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stdout

    def format(self, record: logging.LogRecord) -> str:
        return stamped(super().format(record), record.created)


def stamped(text: str, seconds: float | None = None) -> str:
    """Each line of a text behind the time (`seconds` since the epoch, or now) and the job's name."""
    prefix = f"{time.strftime('%H:%M:%S', time.localtime(seconds))} {job_name()}  "
    return "\n".join(f"{prefix}{line}" for line in text.splitlines())


def job_name() -> str:
    """The job that this process works for, or the module that was started."""
    if name := os.environ.get(JOB):
        return name
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec.name.rpartition(".")[2] if spec else Path(sys.argv[0]).stem


def in_job() -> bool:
    return JOB in os.environ


def name_of(stage: str, log: Path | None) -> str:
    """A job's name by its log, logs/RUN/PLACE: the stage, what it works on, and a later round or a study's recipe.

    `generate 3-of-8`, `evaluate platinum/base`, `train_dpo of round2`, `train_sft in study/1f0c2a9b77`.
    """
    parts = list(log.with_suffix("").parts) if log else []
    if "logs" in parts:
        parts = parts[len(parts) - parts[::-1].index("logs") + 1 :]
    study = "/".join(parts[:2]) if parts[:1] == ["study"] else ""
    parts = parts[2:] if study else parts
    round_ = parts[0] if parts and re.fullmatch(r"round\d+", parts[0]) and stage in parts[1:] else ""
    what = "/".join(parts[parts.index(stage) + 1 :]) if stage in parts else ""
    later = f"of {round_}" if round_ not in ("", "round1") else ""
    return " ".join(filter(None, [stage, what, later, study and f"in {study}"]))


def collect_summaries(folder: Path) -> None:
    """From now on what this process's jobs say last is kept in a folder, which is emptied, for `show_summaries`."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    os.environ[SUMMARIES] = str(folder.resolve())


def show_summaries() -> None:
    folder = os.environ.get(SUMMARIES)
    for file in sorted(Path(folder).glob("*.txt")) if folder else []:
        print(f"\n{file.read_text(encoding='utf-8')}", end="", flush=True)


def say_last(text: str) -> None:
    """Say a run's summary: at once, or at the end of the workflow's terminal where one collects it."""
    if folder := os.environ.get(SUMMARIES):
        Path(folder, f"{time.time_ns()}.txt").write_text(text + "\n", encoding="utf-8")
    else:
        print(text, flush=True)
