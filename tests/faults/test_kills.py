"""SIGKILL of every stage and of Snakemake at seeded random moments: the same results, and nothing finished made twice."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest
import tiny
import toy
from helpers import snakemake

from regime_w.runtime.records import read_json

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1200)]
KILLS_A_JOB = 4
KILLS_OF_SNAKEMAKE = 9
EVENTS = 4  # starts and ends of jobs after which Snakemake is killed, at most, and LONGEST seconds later at most
LONGEST = 3.0


class Outcome(NamedTuple):
    kills: list[str]
    torn: list[str]  # outputs that were there but not whole after a kill
    twice: list[str]  # trajectories that stand twice in the journals
    lost: list[str]  # trajectories that a kill took out of the journals
    results: dict[str, str]


@pytest.fixture(scope="module")
def outcomes(whole: Path, jobs: list[tiny.Job], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """Each job in a copy of the finished run where it alone is to be made again."""

    def one(job: tiny.Job) -> tuple[str, Outcome]:
        folder = tmp_path_factory.mktemp("killed") / "run"
        shutil.copytree(whole, folder)
        tiny.remove(folder, *tiny.leftovers(job))
        outcome = kill_and_resume(job, folder, whole)
        shutil.rmtree(folder)
        return job.name, outcome

    with ThreadPoolExecutor(tiny.AT_ONCE) as pool:
        return dict(pool.map(one, jobs))


def kill_and_resume(job: tiny.Job, folder: Path, whole: Path) -> Outcome:
    """Kill the job KILLS_A_JOB times, each time start it again, and at last let it finish.

    Every other moment is one of time, and one of work: when a share of all that the job writes has been written.
    """
    draw = random.Random(job.name)
    expected = tiny.results(whole)
    outcome = Outcome([], [], [], [], {})
    kept: set[str] = set()
    while True:
        process = tiny.start(job, folder)
        if len(outcome.kills) < KILLS_A_JOB:
            unit = ("time", "work")[len(outcome.kills) % 2]
            progress = progress_of(job, folder, whole, unit)
            share, victim = draw.random(), draw.choice(["stage", "wrapper", "group"])
            if not (killed := kill_when(process, progress, share, victim)):  # it was faster
                tiny.remove(folder, *tiny.leftovers(job))
                kept = set()
                continue
            outcome.kills.append(f"{killed} after {share:.0%} of its {unit}")
            outcome.torn.extend(tiny.torn(job, folder, expected))
            finished = set(tiny.journalled(folder))
            outcome.lost.extend(sorted(kept - finished))
            kept = finished
            continue
        assert process.wait(timeout=300) == 0, (folder / job.log).read_text()
        outcome.twice.extend(key for key, times in tiny.journalled(folder).items() if times > 1)
        outcome.results.update(tiny.results(folder))
        return outcome


def progress_of(job: tiny.Job, folder: Path, whole: Path, unit: str) -> Callable[[], float]:
    """A function that tells the share of the undisturbed job's time, or of the bytes it wrote, that is behind us."""
    if unit == "work":
        most = tiny.written(job, whole)
        return lambda: tiny.written(job, folder) / most
    usage = [name for name in job.outputs if name.endswith("usage.json")]
    seconds = 0.5 + (read_json(whole / usage[0])["seconds"] if usage else 2.0)  # with the wrapper's own start
    start = time.monotonic()
    return lambda: (time.monotonic() - start) / seconds


def kill_when(process: "subprocess.Popen[bytes]", progress: Callable[[], float], share: float, victim: str) -> str:
    """SIGKILL when the share is reached; returns what was killed, "" where it had ended, when its whole tree is gone."""
    while progress() < share:
        if process.poll() is not None:
            return ""
        time.sleep(0.005)
    if process.poll() is not None:
        return ""
    tree = psutil.Process(process.pid).children(recursive=True)
    modules = {module: [p for p in tree if module in command_of(p)] for module in ("regime_w.runtime.job", "scripts.")}
    stages = [p for p in modules["scripts."] if p not in modules["regime_w.runtime.job"]]
    # What is to be killed may not have started yet.
    if victim == "stage" and stages:
        stages[0].kill()
    elif victim != "group" and modules["regime_w.runtime.job"]:
        modules["regime_w.runtime.job"][0].kill()
    else:
        victim = "group"
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    _, left = psutil.wait_procs(tree, timeout=60)
    assert not left, f"outlived the kill of its {victim}: {left}"
    return victim


def command_of(process: psutil.Process) -> str:
    try:
        command = process.cmdline()
    except psutil.Error:
        return ""
    return command[2] if command[1:2] == ["-m"] else ""


JOBS = [
    "fetch_evaluation/quiz", "join_evaluation", "fetch_questions", "split_questions/sft", "split_questions/round1",
    "check_questions", "base_model", "train_sft", "merge_lora/sft_merged", "round1/generate/0-of-2", "round1/generate/1-of-2",
    "round1/score_rollouts", "round1/check_rollouts", "round1/build_preferences", "round1/train_dpo",
    "merge_lora/round1/merged", "evaluate/quiz/base", "evaluate/quiz/sft", "evaluate/quiz/round1", "view_trajectories",
    "eval_report",
]  # fmt: skip


def test_every_job_is_killed(outcomes: dict[str, Outcome]) -> None:
    assert sorted(outcomes) == sorted(JOBS)
    assert sum(len(outcome.kills) for outcome in outcomes.values()) + KILLS_OF_SNAKEMAKE >= 50


@pytest.mark.parametrize("name", JOBS)
def test_a_killed_job_leaves_whole_files_and_ends_in_the_same_results(
    outcomes: dict[str, Outcome], whole: Path, name: str
) -> None:
    outcome = outcomes[name]
    assert outcome.torn == [], outcome.kills
    assert outcome.lost == [], outcome.kills
    assert outcome.twice == [], outcome.kills
    expected = tiny.results(whole)
    assert [path for path in expected if outcome.results.get(path) != expected[path]] == [], outcome.kills
    assert set(outcome.results) == set(expected)


def test_snakemake_killed_over_and_over_ends_in_the_same_results(whole: Path, tmp_path: Path) -> None:
    """The whole group, Snakemake alone, or one of its processes; then what the README says: unlock, the same command."""
    draw = random.Random(0)
    kills: list[str] = []
    kept: set[str] = set()
    folder = toy.new_run(tmp_path / "run")
    while len(kills) < KILLS_OF_SNAKEMAKE:
        victim = ("group", "snakemake", "any")[len(kills) % 3]
        process = start_snakemake(folder)
        if not reached(process, folder, draw.randint(0, EVENTS)):  # it finished: once more from the start
            assert_same(folder, whole, kills)
            folder, kept = toy.new_run(tmp_path / f"run after {len(kills)} kills"), set()
            continue
        time.sleep(draw.uniform(0, LONGEST))
        tree = psutil.Process(process.pid).children(recursive=True)
        if victim == "group" or not tree:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        elif victim == "snakemake":
            process.kill()
        else:
            draw.choice(tree).kill()
        process.wait(timeout=600)
        kills.append(f"{victim} at {len(said(folder))} bytes of log")
        # Jobs that outlive Snakemake finish what they make, as on a machine where its terminal was lost.
        psutil.wait_procs(tree, timeout=300)
        finished = set(tiny.journalled(folder))
        assert kept <= finished, kills
        kept = finished
        assert snakemake(folder, "--unlock", *tiny.TARGET).returncode == 0
    assert start_snakemake(folder).wait(timeout=600) == 0, f"{kills}\n{said(folder)[-3000:]}"
    assert_same(folder, whole, kills)


def reached(process: "subprocess.Popen[bytes]", folder: Path, events: int) -> bool:
    """Wait until Snakemake has told of so many starts and ends of jobs; False where it finished before."""
    while said(folder).count("Execute ") + said(folder).count("Finished jobid") < events:
        if process.poll() is not None:
            assert process.returncode == 0, said(folder)[-3000:]
            return False
        time.sleep(0.05)
    return process.poll() is None


def said(folder: Path) -> str:
    return (folder / "snakemake.out").read_text(errors="replace")


def assert_same(folder: Path, whole: Path, kills: list[str]) -> None:
    assert [key for key, times in tiny.journalled(folder).items() if times > 1] == [], kills
    found, expected = tiny.results(folder), tiny.results(whole)
    assert [path for path in expected if found.get(path) != expected[path]] == [], kills
    assert set(found) == set(expected)


def start_snakemake(folder: Path) -> "subprocess.Popen[bytes]":
    with open(folder / "snakemake.out", "wb") as out:
        return subprocess.Popen(
            [sys.executable, "-m", "snakemake", *tiny.TARGET, "--cores", "2"],
            cwd=folder, env=tiny.environment(), stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
