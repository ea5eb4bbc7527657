"""The shipped SLURM profile on a real SLURM: GPUs, failures, retries, and what each signal to Snakemake leaves behind."""

import functools
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from helpers import ROOT

pytestmark = pytest.mark.slurm
SNAKEFILE = Path(__file__).parent / "workflow" / "Snakefile"
ATTEMPTS = 2


class Event(NamedTuple):
    name: str
    what: str  # start or end
    time: float
    job: str  # SLURM's id
    gpus: frozenset[str]


class Run:
    """Snakemake in a working directory of its own."""

    def __init__(self, folder: Path, target: str) -> None:
        self.folder, self.target, self.count = folder, target, 0
        profile = yaml.safe_load((ROOT / "profiles/slurm/config.v9+.yaml").read_text())
        del profile["default-resources"]["slurm_account"]  # this cluster keeps no accounts
        profile |= {
            "slurm-status-command": "squeue",
            "slurm-init-seconds-before-status-checks": 2,
            "latency-wait": 10,
            "retries": ATTEMPTS - 1,
        }
        profile["set-resources"]["check_rollouts"]["runtime"] = "attempt"
        (folder / "profile").mkdir(parents=True)
        (folder / "profile" / "config.v9+.yaml").write_text(yaml.safe_dump(profile))

    def start(self, *options: str) -> subprocess.Popen[bytes]:
        self.count += 1
        env = os.environ | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "REGIME_W_FAKE_GPUS": "8",
            "REGIME_W_LEASE_DIR": str(self.folder / "leases"),
        }
        command = [sys.executable, "-m", "snakemake", self.target, "--snakefile", str(SNAKEFILE), *options]
        command += ["--directory", str(self.folder), "--workflow-profile", str(self.folder / "profile")]
        # A test run in the background may have SIGINT ignored, and its children with it.
        heed = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
        with open(self.output, "wb") as out:
            return subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=env, preexec_fn=heed, cwd=ROOT)

    def finish(self, *options: str) -> int:
        return self.start(*options).wait(timeout=300)

    @property
    def output(self) -> Path:
        return self.folder / f"snakemake{self.count}.out"

    @property
    def said(self) -> str:
        return self.output.read_text(errors="replace")

    def events(self, what: str | None = None) -> list[Event]:
        rows = []
        for line in (
            (self.folder / "events.txt").read_text().splitlines() if (self.folder / "events.txt").exists() else []
        ):
            name, event, at, job, *gpus = line.split()
            rows.append(Event(name, event, float(at), job, frozenset(gpus[0].split(",")) if gpus else frozenset()))
        return [row for row in rows if what in (None, row.what)]

    def queued(self) -> list[str]:
        """Ids of the run's jobs in SLURM's queue, found as docs/slurm.md says."""
        said = "".join(path.read_text(errors="replace") for path in self.folder.glob("snakemake*.out"))
        names = ",".join(re.findall(r"SLURM run ID: (\S+)", said))
        return _output("squeue", "--noheader", "--format=%i", f"--name={names}").split() if names else []


@pytest.fixture
def signals(cluster: Path, tmp_path: Path) -> Iterator[Run]:
    """A run of two jobs that go on until the file `go` is there."""
    yield Run(tmp_path / "run", "signals")
    (tmp_path / "run" / "go").touch()


@pytest.fixture(scope="module")
def resources(cluster: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Run, Any]]:
    """A run of all kinds of jobs, going on beside the first tests; yields it and its process."""
    run = Run(tmp_path_factory.mktemp("resources") / "run", "resources")
    process = run.start()
    yield run, process
    process.kill()
    process.wait()


def test_a_cancelled_job_is_noted(resources: tuple[Run, Any]) -> None:
    run, process = resources
    _wait_for(lambda: "merge_lora-64000" in {event.name for event in run.events()}, process)
    (job,) = {event.job for event in run.events() if event.name == "merge_lora-64000"}
    subprocess.run(["scancel", job], check=True)


def test_sigint_cancels_its_jobs(signals: Run) -> None:
    controller = _started(signals)
    controller.send_signal(signal.SIGINT)
    assert controller.wait(timeout=120) != 0
    _wait_for(lambda: not signals.queued())
    (signals.folder / "go").touch()
    assert signals.finish() == 0, signals.said
    assert len(signals.events("end")) == 2


def test_sigterm_waits_for_its_jobs(signals: Run) -> None:
    controller = _started(signals)
    controller.terminate()
    (signals.folder / "go").touch()
    controller.wait(timeout=120)
    assert signals.finish() == 0, signals.said
    assert "Nothing to be done" in signals.said
    assert len(signals.events("start")) == len(signals.events("end")) == 2


def test_after_sigkill_a_second_copy_is_refused_and_nothing_is_done_twice(signals: Run) -> None:
    controller = _started(signals)
    controller.kill()
    controller.wait()
    assert len(signals.queued()) == 2
    assert signals.finish() != 0
    assert "Directory cannot be locked" in signals.said
    # Too early: the jobs still run.
    assert signals.finish("--unlock") == 0
    assert signals.finish("--retries", "0") != 0
    for shard in range(2):
        assert re.search(
            rf"another copy of this job \(pid \d+, host \S+\) .* out/score_rollouts/{shard}.txt", signals.said
        )
    assert len(signals.events("start")) == 2
    (signals.folder / "go").touch()
    _wait_for(lambda: not signals.queued())
    assert signals.finish() == 0, signals.said
    assert "Nothing to be done" in signals.said
    assert len(signals.events("start")) == len(signals.events("end")) == 2


def test_after_sigkill_and_scancel_the_jobs_are_done_again(signals: Run) -> None:
    controller = _started(signals)
    controller.kill()
    controller.wait()
    subprocess.run(["scancel", *signals.queued()], check=True)
    _wait_for(lambda: not signals.queued())
    (signals.folder / "go").touch()
    assert signals.finish("--unlock") == 0
    assert signals.finish() == 0, signals.said
    assert len(signals.events("end")) == 2


def test_gpus_failures_and_retries(resources: tuple[Run, Any]) -> None:
    run, process = resources
    assert process.wait(timeout=300) == 1
    starts, ends = run.events("start"), {event.job: event for event in run.events("end")}

    # Every attempt is a SLURM job of its own, with the profile's partition, GPUs and node.
    assert len({event.job for event in starts}) == len(starts)
    by_name = {event.name: event for event in starts}
    shown = _output("scontrol", "show", "job", by_name["train_dpo"].job)
    for expected in ("Partition=gpu", "gpu:h100:8", "NumNodes=1", "NumCPUs=32"):
        assert expected in shown
    assert "Partition=cpu" in _output("scontrol", "show", "job", by_name["check_rollouts-2"].job)

    # Shards have a GPU each, the large job has all, a CPU job none, and no two at once share one.
    assert {len(by_name[f"generate{shard}"].gpus) for shard in range(8)} == {1}
    assert len(by_name["train_dpo"].gpus) == 8
    assert not by_name["check_rollouts-2"].gpus
    for one in starts:
        for other in starts:
            if one is not other and {one.job, other.job} <= ends.keys() and one.gpus & other.gpus:
                assert ends[one.job].time < other.time or ends[other.job].time < one.time, (one, other)

    # The failing job was tried again and is reported with its own log; the others went on.
    assert sum(event.name == "evaluate" for event in starts) == ATTEMPTS
    assert "this one always fails" in run.said
    assert sorted(path.stem for path in (run.folder / "out").glob("*.txt")) == [
        "check_rollouts",
        "merge_lora",
        "train_dpo",
    ]
    assert len(list((run.folder / "out/generate").glob("*.txt"))) == 8

    # The cancelled job and the one out of time were tried again with more.
    assert "SLURM status is: 'CANCELLED'" in run.said
    assert "SLURM status is: 'TIMEOUT'" in run.said
    names = [event.name for event in starts if event.name.startswith(("merge_lora", "check_rollouts"))]
    assert sorted(names) == ["check_rollouts-1", "check_rollouts-2", "merge_lora-128000", "merge_lora-64000"]


def _started(run: Run) -> subprocess.Popen[bytes]:
    controller = run.start()
    _wait_for(lambda: len(run.events("start")) == 2, controller)
    return controller


def _wait_for(true: Callable[[], bool], process: Any = None) -> None:
    end = time.monotonic() + 180
    while not true():
        assert time.monotonic() < end
        assert process is None or process.poll() is None
        time.sleep(0.5)


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
