"""The pipeline itself on a real SLURM with the shipped profile: the demo's way to its report through failing, cancelled,
late and over-large jobs, and what each signal to Snakemake leaves behind.

The demo is made small. Its GPUs are pretended, see python.py; nothing else is replaced.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from helpers import ROOT, clone_to, heed_signals

from regime_w.runtime.records import read_json, read_jsonl
from regime_w.runtime.seals import write_jsonl

pytestmark = pytest.mark.slurm
# Questions so easy that a model made in seconds is sometimes right.
SMALL: dict[str, Any] = {
    "extends": "config.yaml",
    "rounds": 1,
    "questions": {
        "train": {"source": "file", "path": "train_questions.jsonl", "n": None},
        "eval": {"generated": {"source": "file", "path": "eval_questions.jsonl", "n": None}, "choice": None},
    },
    "base_model": {"tiny": {"steps": 80}},
    "sft": {"n_examples": 160, "epochs": 3, "learning_rate": 0.003},
    "generate": {"n_samples": 32, "skip": 160, "shards": 8},
    "evaluate": {"k": 2},
    "report": {"n_boot": 500},
}
ATTEMPTS = 2
SHARDS = [f"data/demo/round1/completions/{shard}-of-8.jsonl" for shard in range(8)]
CANCELLED, LATE, LARGE = SHARDS[3], "data/demo/answers/generated/sft.jsonl", "checkpoints/demo/base"
REPORT = "results/demo/eval_report.json"
# What the signals hit, and what has to be made again for it.
RUNNING = SHARDS[:2]


class Event(NamedTuple):
    output: str
    what: str  # start, held or end
    time: float
    job: str  # SLURM's id
    gpus: frozenset[str]


class Clone:
    """A clone of the repository with its profile filled in, and the runs of Snakemake in it."""

    def __init__(self, folder: Path) -> None:
        """`folder` has the parts of the repository already (`new_clone`)."""
        self.folder, self.count = folder, 0
        self.process: subprocess.Popen[bytes] | None = None
        self.profile = folder / "profiles/slurm/config.v9+.yaml"
        profile = yaml.safe_load(self.profile.read_text())
        del profile["default-resources"]["slurm_account"]  # this cluster keeps no accounts
        profile |= {
            "slurm-status-command": "squeue",
            "slurm-init-seconds-before-status-checks": 2,
            "latency-wait": 10,
            "retries": ATTEMPTS - 1,
        }
        self.profile.write_text(yaml.safe_dump(profile))
        python = folder / "bin/python"
        python.parent.mkdir()
        python.write_text(f"#!{sys.executable}\n" + (Path(__file__).parent / "python.py").read_text())
        python.chmod(0o755)

    def env(self) -> dict[str, str]:
        return os.environ | {
            "PATH": f"{self.folder / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "REGIME_W_FAKE_GPUS": "8",
            "REGIME_W_LEASE_DIR": str(self.folder / "leases"),
        }

    def start(self, *options: str) -> "subprocess.Popen[bytes]":
        self.count += 1
        command = [sys.executable, "-m", "snakemake", "--workflow-profile", "profiles/slurm", *options]
        command += ["--configfile", "small.yaml"]
        with open(self.output, "wb") as out:
            self.process = subprocess.Popen(
                command, stdout=out, stderr=subprocess.STDOUT, env=self.env(), preexec_fn=heed_signals, cwd=self.folder
            )
        return self.process

    def stop(self) -> None:
        self.release()
        if self.process:
            self.process.kill()
            self.process.wait()

    def finish(self, *options: str) -> int:
        return self.start(*options).wait(timeout=1800)

    @property
    def output(self) -> Path:
        return self.folder / f"snakemake{self.count}.out"

    @property
    def said(self) -> str:
        return self.output.read_text(errors="replace")

    def hold(self, outputs: list[str]) -> None:
        (self.folder / "hold.txt").write_text("\n".join(outputs))

    def release(self) -> None:
        (self.folder / "hold.txt").unlink(missing_ok=True)

    def events(self, what: str, output: str | None = None) -> list[Event]:
        path = self.folder / "events.txt"
        rows = []
        for line in path.read_text().splitlines() if path.exists() else []:
            name, event, at, job, *gpus = line.split()
            rows.append(Event(name, event, float(at), job, frozenset(gpus[0].split(",")) if gpus else frozenset()))
        return [row for row in rows if row.what == what and output in (None, row.output)]

    def queued(self) -> list[str]:
        """Ids of the jobs in SLURM's queue, found as docs/guide/slurm.md says."""
        return re.findall(r"^ *(\d+) ", self.documented("names=$(", "squeue --name"), re.MULTILINE)

    def documented(self, *commands: str) -> str:
        """Output of the commands of docs/guide/slurm.md that begin so, of the small demo instead of its example."""
        lines = [
            line.strip() for line in (ROOT / "docs/guide/slurm.md").read_text().splitlines() if line.startswith("    ")
        ]
        script = ["set -eu -o pipefail"]
        for begin in commands:
            (line,) = [line for line in lines if line.startswith(begin)]
            script.append(line.replace("configs/abel.yaml", "small.yaml").replace("abel", "demo"))
        command = ["bash", "-c", "\n".join(script)]
        return subprocess.run(
            command, cwd=self.folder, env=self.env(), capture_output=True, text=True, check=True
        ).stdout

    def kept(self, shard: str) -> tuple[int, int]:
        """Trajectories that the shard's last job took from the journal, and those that it made."""
        log = (self.folder / "logs/demo/round1/generate" / Path(shard).name).with_suffix(".log").read_text()
        found = re.search(r"(\d+) kept from the journal, (\d+) to make", log)
        assert found, log
        return int(found[1]), int(found[2])


def new_clone(folder: Path) -> Path:
    """The parts of the repository that a run needs, with the small demo's config and questions."""
    clone_to(folder)
    (folder / "small.yaml").write_text(yaml.safe_dump(SMALL))
    for name, count in (("train", 220), ("eval", 40)):
        rows = []
        for number in range(count):
            a, b = 1 + number % 2, 1 + number // 2 % 2
            question = f"Box {number} of {name} holds {a} red and {b} blue cups. How many cups?"
            rows.append({"question": question, "answer": f"Step 1: {a} + {b} = {a + b}.\n#### {a + b}"})
        write_jsonl(folder / f"{name}_questions.jsonl", rows)
    return folder


@pytest.fixture(scope="module")
def demo(cluster: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Clone, "Future[list[int]]"]]:
    """The demo going on beside the first tests: a run that cannot make pairs, and one with the mended config.

    Yields the clone and the future statuses of both.
    """
    clone = Clone(new_clone(tmp_path_factory.mktemp("demo") / "clone"))
    profile = yaml.safe_load(clone.profile.read_text())
    profile["set-resources"]["base_model"]["mem_mb"] = "300 * attempt ** 3"
    profile["set-resources"]["evaluate"]["runtime"] = "attempt ** 4"
    clone.profile.write_text(yaml.safe_dump(profile))
    (clone.folder / "small.yaml").write_text(yaml.safe_dump(SMALL | {"pairs": {"min_margin": 99.0}}))
    clone.hold([*SHARDS, LATE])

    def both() -> list[int]:
        if (status := clone.finish("eval_report")) < 0:
            return [status]  # the tests end early
        (clone.folder / "small.yaml").write_text(yaml.safe_dump(SMALL))
        return [status, clone.finish("eval_report")]

    with ThreadPoolExecutor(1) as pool:
        yield clone, pool.submit(both)
        clone.stop()


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Path]]:
    """The same demo on this machine without SLURM and GPUs, in a clone of its own, going on beside the first test;
    yields a function that waits for it and returns the clone."""
    folder = new_clone(tmp_path_factory.mktemp("local") / "clone")
    options = "--cores 2 --resources gpu=0 --configfile small.yaml -- eval_report"
    env = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    with open(folder / "out", "wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "snakemake", *options.split()], stdout=out, stderr=out, cwd=folder, env=env
        )

    def made() -> Path:
        assert process.wait(timeout=1800) == 0, (folder / "out").read_text()
        return folder

    yield made
    process.kill()
    process.wait()


@pytest.fixture
def running(
    cluster: Any, local: Callable[[], Path], tmp_path: Path
) -> Iterator[tuple[Clone, "subprocess.Popen[bytes]"]]:
    """A clone of the finished local run in which two shards of rollouts are being made again, each held in the midst of
    its work; yields it and the controlling process."""
    clone = Clone(Path(shutil.copytree(local(), tmp_path / "clone", symlinks=True)))
    shutil.rmtree(clone.folder / "data/demo/round1/journal")
    for shard in RUNNING:
        (clone.folder / shard).unlink()
    clone.hold(RUNNING)
    controller = clone.start(*RUNNING)
    try:
        _wait_for(lambda: len(clone.events("held")) == 2, controller)
        yield clone, controller
    finally:
        clone.stop()
        controller.kill()
        controller.wait()


def test_eight_shards_run_at_once_each_on_its_own_gpu(demo: tuple[Clone, Any], local: Any) -> None:
    """Then one of them is cancelled; what becomes of it is seen below."""
    clone, statuses = demo
    _wait_for(lambda: {event.output for event in clone.events("held")} >= set(SHARDS) or statuses.done())
    held = {event.output: event for event in clone.events("held") if event.output in SHARDS}
    assert [len(event.gpus) for event in held.values()] == [1] * 8
    assert len(frozenset().union(*(event.gpus for event in held.values()))) == 8
    assert not clone.events("end", CANCELLED)
    subprocess.run(["scancel", held[CANCELLED].job], check=True)
    clone.hold([CANCELLED, LATE])  # its second start is not held; the first must not go on before the signal comes


def test_sigint_cancels_its_jobs(running: tuple[Clone, Any], local: Callable[[], Path]) -> None:
    clone, controller = running
    controller.send_signal(signal.SIGINT)
    assert controller.wait(timeout=120) != 0
    # Snakemake forgets its jobs while it asks for their state: a signal at that moment cancels none.
    if clone.queued():
        clone.documented("names=$(", "scancel --name")
    _wait_for(lambda: not clone.queued())
    assert not clone.events("end")
    clone.release()
    # The rest may as well be made without GPUs.
    assert clone.finish(*RUNNING, "--resources", "gpu=0") == 0, clone.said
    assert [len(event.gpus) for event in clone.events("start")] == [1, 1, 0, 0]
    _check_each_made_once(clone, local(), kept=5)


def test_sigterm_waits_for_its_jobs(running: tuple[Clone, Any], local: Callable[[], Path]) -> None:
    clone, controller = running
    controller.terminate()
    clone.release()
    controller.wait(timeout=120)
    assert clone.finish(*RUNNING) == 0, clone.said
    assert "Nothing to be done" in clone.said
    assert len(clone.events("start")) == len(clone.events("end")) == 2
    _check_each_made_once(clone, local(), kept=0)


def test_after_sigkill_its_jobs_may_finish(running: tuple[Clone, Any], local: Callable[[], Path]) -> None:
    clone, controller = running
    controller.kill()
    controller.wait()
    assert len(clone.queued()) == 2
    assert clone.finish(*RUNNING) != 0
    assert "Directory cannot be locked" in clone.said
    clone.release()
    _wait_for(lambda: not clone.queued())
    clone.documented("snakemake --unlock")
    assert clone.finish(*RUNNING) == 0, clone.said
    assert "Nothing to be done" in clone.said
    assert len(clone.events("start")) == len(clone.events("end")) == 2
    _check_each_made_once(clone, local(), kept=0)


def test_after_a_lost_terminal_its_jobs_may_be_cancelled(running: tuple[Clone, Any], local: Callable[[], Path]) -> None:
    """SIGHUP ends Snakemake as SIGKILL does."""
    clone, controller = running
    controller.send_signal(signal.SIGHUP)
    controller.wait()
    assert len(clone.queued()) == 2
    clone.documented("names=$(", "scancel --name")
    _wait_for(lambda: not clone.queued())
    clone.release()
    clone.documented("snakemake --unlock")
    assert clone.finish(*RUNNING) == 0, clone.said
    _check_each_made_once(clone, local(), kept=5)


def test_failed_and_retried_jobs(demo: tuple[Clone, "Future[list[int]]"]) -> None:
    clone, statuses = demo
    assert statuses.result(timeout=1800) == [1, 0], clone.said
    said = (clone.folder / "snakemake1.out").read_text(errors="replace")

    # The failing job was tried again and is reported with its own log; jobs that do not need it went on, so that with the
    # mended config only what needs it was left to do.
    assert len(clone.events("start", "data/demo/round1/preferences.jsonl")) == ATTEMPTS + 1
    assert "error: no preference pair from 32 questions" in said
    assert "logs/demo/round1/build_preferences.log" in said
    second = (clone.folder / "snakemake2.out").read_text(errors="replace")
    left = ["build_preferences", "train_dpo", "merge_lora", "evaluate", "view_trajectories", "eval_report"]
    assert list(dict.fromkeys(re.findall(r"^(?:local)?rule (\w+):", second, re.MULTILINE))) == left

    # The cancelled job and the late one were tried again with more memory and time, and went on from their journals.
    assert "SLURM status is: 'CANCELLED'" in said
    assert "SLURM status is: 'TIMEOUT'" in said
    assert [_asked(event.job) for event in clone.events("start", CANCELLED)] == [(64000, 240), (128000, 480)]
    assert [_asked(event.job)[1] for event in clone.events("start", LATE)] == [1, 16]
    assert clone.kept(CANCELLED)[0] == 5
    assert "5 kept from the journal" in (clone.folder / "logs/demo/evaluate/generated/sft.log").read_text()

    # So was the job that took too much memory.
    jobs = re.findall(r"Job \d+ has been submitted with SLURM jobid (\d+) \(log: \S*rule_base_model/", said)
    assert [_asked(job)[0] for job in jobs] == [300, 2400]
    logs = "".join(path.read_text() for path in (clone.folder / ".snakemake/slurm_logs").rglob(f"{jobs[0]}.log"))
    assert "exceeded memory limit" in logs


def test_a_job_for_all_gpus_is_alone(demo: tuple[Clone, "Future[list[int]]"]) -> None:
    clone, statuses = demo
    statuses.result(timeout=1800)
    # Every attempt is a SLURM job of its own.
    starts = [event for event in clone.events("start") if event.job != "None"]  # the report is made here
    assert len({event.job for event in starts}) == len(starts)
    ends = {event.job: event for event in clone.events("end")}
    done = {event.output: event for event in starts if event.job in ends}

    # Training has all eight GPUs; CPU jobs have none.
    for adapter in ("sft_lora", "round1/dpo_lora"):
        event = done[f"checkpoints/demo/{adapter}"]
        assert len(event.gpus) == 8
        shown = _output("scontrol", "show", "job", event.job)
        for expected in ("Partition=gpu", "gpu:h100:8", "NumNodes=1", "NumCPUs=32"):
            assert expected in shown
    for output in (LARGE, "data/demo/round1/rollouts.jsonl"):
        assert not done[output].gpus
        assert "Partition=cpu" in _output("scontrol", "show", "job", done[output].job)

    # No two at once share one.
    for one in done.values():
        for other in done.values():
            if one is not other and one.gpus & other.gpus:
                assert ends[one.job].time < other.time or ends[other.job].time < one.time, (one, other)


def test_the_report_is_that_of_a_local_run(demo: tuple[Clone, "Future[list[int]]"], local: Callable[[], Path]) -> None:
    clone, statuses = demo
    statuses.result(timeout=1800)
    here = local()
    made = [path.relative_to(here) for path in (here / "data/demo").rglob("*.jsonl")]
    made = sorted(path for path in made if "journal" not in path.parent.name)
    assert len(made) == 6 + 8 + 2 + 3
    for name in made:
        assert (clone.folder / name).read_bytes() == (here / name).read_bytes(), name
    ours, theirs = (read_json(folder / REPORT) for folder in (clone.folder, here))
    for key in ("verdict", "models", "comparisons", "flips", "rollouts", "preferences", "questions"):
        assert ours[key] == theirs[key]
    for form in ("html", "md"):
        assert (clone.folder / REPORT).with_suffix(f".{form}").stat().st_size > 1000
    assert clone.finish("eval_report") == 0
    assert "Nothing to be done" in clone.said


def test_unlocked_too_early_second_copies_are_refused(running: tuple[Clone, Any], local: Callable[[], Path]) -> None:
    """The worst order: the first copies finish before the second Snakemake hears that its own were refused.

    Last: the demo's training would wait for the GPUs of the first copies, and the second ones for the training.
    """
    clone, controller = running
    controller.kill()
    controller.wait()
    first = set(clone.queued())
    clone.documented("snakemake --unlock")
    second = clone.start(*RUNNING, "--retries", "0")
    _wait_for(lambda: len(clone.queued()) == 4, second)
    second.send_signal(signal.SIGSTOP)
    try:
        _wait_for(lambda: set(clone.queued()) == first)
        assert len(clone.events("start")) == 2
        clone.release()
        _wait_for(lambda: not clone.queued())
        assert len(clone.events("end")) == 2
    finally:
        second.send_signal(signal.SIGCONT)
    assert second.wait(timeout=120) != 0
    for shard in RUNNING:
        refused = rf"another copy of this job \(pid \d+, host \S+\) is running and writes \S+/generate/{Path(shard).stem}\.log"
        assert re.search(refused, clone.said)
        assert not (clone.folder / shard).exists()  # Snakemake removes what it takes for the output of a failed job
    assert clone.finish(*RUNNING) == 0, clone.said
    assert [clone.kept(shard)[1] for shard in RUNNING] == [0, 0]
    _check_each_made_once(clone, local())


def test_jobs_go_on_after_preemption_and_a_node_failure(
    running: tuple[Clone, Any], local: Callable[[], Path], cluster: Any
) -> None:
    clone, controller = running
    clone.hold(RUNNING * 2)
    _output("sbatch", "--partition=urgent", "--gpus=h100:8", "--mem=100", "--output=/dev/null", "--wrap=true")
    _wait_for(lambda: len(clone.events("held")) == 4, controller)
    # SLURM sees that a node has lost a job when it comes back, if the job began over 15 s (MessageTimeout + 5) before.
    _wait_for(lambda: time.time() - clone.events("start")[-1].time > 25, controller)
    cluster.reboot_node()
    assert controller.wait(timeout=1800) == 0, clone.said
    starts = clone.events("start")
    assert len(starts) == 6
    assert len({event.job for event in starts}) == 2  # SLURM put the same jobs back into its queue
    _check_each_made_once(clone, local(), kept=10)


def _check_each_made_once(clone: Clone, undisturbed: Path, kept: int | None = None) -> None:
    """The shards are what an undisturbed run makes, and no trajectory was generated twice."""
    for shard in RUNNING:
        assert (clone.folder / shard).read_bytes() == (undisturbed / shard).read_bytes()
        if kept is not None:
            assert clone.kept(shard)[0] == kept
        journal = read_jsonl(clone.folder / "data/demo/round1/journal" / Path(shard).name)
        assert sorted(row["key"] for row in journal) == sorted(row["key"] for row in read_jsonl(clone.folder / shard))


def _asked(job: str) -> tuple[int, int]:
    """Memory (MB) and time limit (minutes) of a job of less than a day."""
    shown = _output("scontrol", "show", "job", job)
    memory = re.search(r"MinMemoryNode=([\d.]+)([MG])", shown)
    limit = re.search(r"TimeLimit=(\d+):(\d+):(\d+)", shown)
    assert memory, shown
    assert limit, shown
    return round(float(memory[1]) * (1024 if memory[2] == "G" else 1)), 60 * int(limit[1]) + int(limit[2])


def _wait_for(true: Callable[[], Any], process: Any = None) -> None:
    end = time.monotonic() + 1200
    while not true():
        assert time.monotonic() < end
        assert process is None or process.poll() is None
        time.sleep(0.5)


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
