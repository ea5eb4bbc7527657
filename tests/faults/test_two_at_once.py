"""Two Snakemakes on one run, two machines on one shared folder, two clones on one machine's GPUs."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import tiny
from helpers import ROOT, snakemake

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]
GPUS = 2
# Claims its GPUs by exclusive files, as nobody else may have them meanwhile; two at once would collide.
CLAIM = """
import os, sys, time
for gpu in os.environ["CUDA_VISIBLE_DEVICES"].split(","):
    os.close(os.open(f"{sys.argv[1]}/{gpu}", os.O_CREAT | os.O_EXCL))
time.sleep(0.2)
for gpu in os.environ["CUDA_VISIBLE_DEVICES"].split(","):
    os.unlink(f"{sys.argv[1]}/{gpu}")
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Start a process whose output is kept; those left at the end are ended."""
    started = []

    def begin(*command: str, cwd: Path = tmp_path, **env: str) -> "subprocess.Popen[str]":
        started.append(
            subprocess.Popen(
                [sys.executable, *command], cwd=cwd, env=tiny.environment() | {"PYTHONPATH": str(ROOT)} | env,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            )
        )  # fmt: skip
        return started[-1]

    yield begin
    for process in started:
        if process.poll() is None:
            process.terminate()
            process.communicate()


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def stages_of(process: "subprocess.Popen[str]", module: str) -> list[psutil.Process]:
    """The processes of a stage that a Snakemake started, without the jobs that watch over them."""
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        with suppress(psutil.Error):
            if child.cmdline()[1:3] == ["-m", f"scripts.{module}"]:
                found.append(child)
    return found


@pytest.fixture
def unfinished(whole: Path, tmp_path: Path) -> Path:
    """A run whose rollouts and all that follows are still to be made."""
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    tiny.remove(folder, "data/tiny/round1", "results/tiny")
    return folder


ROLLOUTS = f"data/{tiny.RUN}/round1/rollouts.jsonl"


def test_a_second_snakemake_is_refused_and_the_first_goes_on(
    unfinished: Path, whole: Path, start: Callable[..., "subprocess.Popen[str]"]
) -> None:
    first = start("-m", "snakemake", ROLLOUTS, *tiny.TARGET[1:], "--cores", "2", cwd=unfinished)
    wait_until(lambda: any(unfinished.glob(".snakemake/locks/*")))
    second = snakemake(unfinished, ROLLOUTS, *tiny.TARGET[1:])
    assert second.returncode != 0
    assert "Directory cannot be locked" in second.stdout + second.stderr
    said, _ = first.communicate(timeout=300)
    assert first.returncode == 0, said
    assert (unfinished / ROLLOUTS).read_bytes() == (whole / ROLLOUTS).read_bytes()


def test_unlocked_too_early_the_jobs_still_refuse_each_other(
    unfinished: Path, whole: Path, start: Callable[..., "subprocess.Popen[str]"]
) -> None:
    first = start("-m", "snakemake", ROLLOUTS, *tiny.TARGET[1:], "--cores", "2", cwd=unfinished)
    wait_until(lambda: any(stages_of(first, "generate")))
    held = stages_of(first, "generate")
    for process in held:
        process.suspend()  # so that it still runs when its second copy comes
    assert snakemake(unfinished, "--unlock", *tiny.TARGET).returncode == 0
    second = start("-m", "snakemake", ROLLOUTS, *tiny.TARGET[1:], "--cores", "2", cwd=unfinished)
    said, _ = second.communicate(timeout=300)
    assert "another copy of this job" in said, said
    for process in held:
        process.resume()
    first.communicate(timeout=300)
    # Snakemake removes the outputs of the refused job, which are the other's: that one may miss them. Nothing that was
    # generated is lost: the same command ends the run.
    snakemake(unfinished, "--unlock", *tiny.TARGET)
    done = snakemake(unfinished, ROLLOUTS, *tiny.TARGET[1:])
    assert done.returncode == 0, done.stdout + done.stderr
    assert (unfinished / ROLLOUTS).read_bytes() == (whole / ROLLOUTS).read_bytes()
    assert [key for key, times in tiny.journalled(unfinished).items() if times > 1] == []


def test_two_machines_that_start_at_once_without_shared_locks(
    tmp_path: Path, start: Callable[..., "subprocess.Popen[str]"]
) -> None:
    code = "import time; time.sleep(600)"
    command = [str(ROOT / "tests/faults/locked_job.py"), "", "0.2", "--stage", "x", "--lock", "out", "--"]
    jobs = []
    for host in ("one", "two"):
        command[1] = host
        jobs.append(start(*command, sys.executable, "-c", code))
    wait_until(lambda: any(job.poll() is not None for job in jobs))
    time.sleep(2)
    ended = [job for job in jobs if job.poll() is not None]
    assert len(ended) == 1
    assert ended[0].returncode == 2
    assert "another copy of this job" in ended[0].communicate()[0]


def test_two_clones_never_share_a_gpu(tmp_path: Path, start: Callable[..., "subprocess.Popen[str]"]) -> None:
    claims = tmp_path / "claims"
    claims.mkdir()
    env = {
        "REGIME_W_FAKE_GPUS": str(GPUS),
        "REGIME_W_LEASE_DIR": str(tmp_path / "leases"),
        "CUDA_VISIBLE_DEVICES": ",".join(map(str, range(GPUS))),
    }
    jobs = []
    for number in range(12):
        clone = tmp_path / f"clone{number % 2}"
        clone.mkdir(exist_ok=True)
        wanted = str(1 + number % GPUS)
        command = ["-m", "regime_w.runtime.job", "--stage", "x", "--gpus", wanted, "--lock", f"out{number}", "--"]
        jobs.append(start(*command, sys.executable, "-c", CLAIM, str(claims), cwd=clone, **env))
    for job in jobs:
        said, _ = job.communicate(timeout=300)
        assert job.returncode == 0, said
