"""Killed at every step of a write: files, folders and checkpoints are whole or absent, and the next try succeeds."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from regime_w.models.manifests import load_manifest, new_artefact, write_manifest
from regime_w.runtime.records import write_text
from regime_w.training.trainer import newest_checkpoint

pytestmark = pytest.mark.faults
# What changes files on the way: a kill before and after each call covers a kill between any two.
STEPS = ("fsync", "replace", "chmod", "unlink", "rmdir", "mkdir", "open")


def killed_at(number: int, work: Callable[[], None]) -> bool:
    """Do the work in a fork that is killed at its `number`-th step; False where it ended before."""
    pid = os.fork()
    if not pid:
        left = [number]

        def counted(function: Callable[..., Any]) -> Callable[..., Any]:
            def call(*arguments: Any, **options: Any) -> Any:
                if not left[0]:
                    os.kill(os.getpid(), signal.SIGKILL)
                left[0] -= 1
                return function(*arguments, **options)

            return call

        for name in STEPS:
            setattr(os, name, counted(getattr(os, name)))
        try:
            work()
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(pid, 0)[1])


def test_a_file_is_old_or_new_whatever_step_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    step = 0
    while True:
        write_text(path, "old")
        if not killed_at(step, lambda: write_text(path, "new")):
            break
        assert path.read_text() in ("old", "new")
        step += 1
    assert step >= 3
    assert path.read_text() == "new"


def test_a_folder_is_whole_or_absent_whatever_step_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "model"

    def write(text: str) -> None:
        with new_artefact(path) as folder:
            (folder / "weights").write_text(text)
            (folder / "config").write_text(text)
            write_manifest(folder, {"text": text})

    step, absent = 0, 0
    while True:
        write("old")
        if not killed_at(step, lambda: write("new")):
            break
        if path.exists():
            folder, manifest = load_manifest(path)
            assert (folder / "weights").read_text() == manifest["made_from"]["text"]
        else:
            absent += 1
        step += 1
    assert step >= 8
    assert absent <= 1
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["model", "model.sha256"]


def test_a_half_written_checkpoint_is_passed_over(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path) is None
    state = json.dumps({"global_step": 10, "log_history": []}, indent=2)
    for name, text in (("checkpoint-10", state), ("checkpoint-9", state.replace("10", "9"))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "trainer_state.json").write_text(text)
    assert newest_checkpoint(tmp_path) == tmp_path / "checkpoint-10"
    for cut in range(len(state)):
        (tmp_path / "checkpoint-10/trainer_state.json").write_text(state[:cut])
        assert newest_checkpoint(tmp_path) == tmp_path / "checkpoint-9"
    shutil.rmtree(tmp_path / "checkpoint-9")
    assert newest_checkpoint(tmp_path) is None
