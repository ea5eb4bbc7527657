"""`make setup` with the real venv and pip after a kill, a move, the loss of its Python: made again.

Locks without packages keep it short.
"""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from helpers import ROOT, heed_signals

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]
PIP = "lib/python3*/site-packages/pip"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    shutil.copytree(ROOT / "envs", folder / "envs")
    shutil.copyfile(ROOT / "Makefile", folder / "Makefile")
    for lock in folder.glob("envs/*.lock"):
        lock.write_text("# nothing\n")
    return folder


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """As a user calls it, whose shell is no make's own."""
    command = ["make", "setup", "KIND=cpu", *arguments]
    env = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=120)


def assert_whole(folder: Path) -> None:
    """pip runs under the name that its first line holds, and a second make has nothing to do."""
    done = subprocess.run([folder / ".venv/bin/pip", "--version"], capture_output=True, text=True)
    assert done.returncode == 0
    assert str(folder) in done.stdout
    again = make(folder)
    assert (again.returncode, again.stdout) == (0, "")


@pytest.mark.parametrize("seen", ["pyvenv.cfg", "bin/python", PIP])
def test_a_make_that_was_killed_is_followed_by_one_that_succeeds(checkout, seen):
    running = subprocess.Popen(
        ["make", "setup", "KIND=cpu"],
        cwd=checkout,
        start_new_session=True,
        preexec_fn=heed_signals,
        stdout=subprocess.DEVNULL,
    )
    while not list((checkout / ".venv").glob(seen)):
        assert running.poll() is None
        time.sleep(0.01)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    done = make(checkout)
    assert done.returncode == 0, done.stderr
    assert ".venv was not finished: made again" in done.stdout
    assert_whole(checkout)


def test_a_checkout_that_was_moved_and_one_that_lost_its_python(checkout):
    assert make(checkout).returncode == 0
    moved = checkout.rename(checkout.parent / "moved")
    done = make(moved)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"was made as {checkout}/.venv: made again" in done.stdout
    assert_whole(moved)

    (moved / ".venv/bin/python").unlink()
    (moved / ".venv/bin/python").symlink_to("/nowhere/python3")
    done = make(moved)
    assert (done.returncode, done.stderr) == (0, "")
    assert "has no Python that runs, or no pip: made again" in done.stdout
    assert_whole(moved)


@pytest.mark.parametrize("text", ["echo 'pyenv: python3.14: command not found'; exit 127", "exit 1"])
def test_a_name_that_is_no_python_is_told_in_one_line(checkout, text):
    stub = checkout / "python3.14"
    stub.write_text(f"#!/bin/sh\n{text}\n")
    stub.chmod(0o755)
    done = make(checkout, f"PYTHON={stub}")
    assert done.returncode != 0
    assert not (checkout / ".venv").exists()
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("make:")]
    assert line == f"error: {stub} does not run here: install Python 3.11, 3.12 or 3.13, or name one, PYTHON=..."
