"""The wrapper of every stage: what the stage sees, what becomes of its processes, one copy at a time, its record."""

import json
import os
import platform
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from helpers import ROOT, heed_signals

from regime_w.runtime import gpu, job
from regime_w.runtime.errors import UserError
from regime_w.runtime.seals import read_record

STAMP = r"\d\d:\d\d:\d\d test  "
# A stage with a helper in a session of its own, as torchrun starts its workers; both tell their pids, then sleep.
FAMILY = """
import os, subprocess, sys, time
helper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print(os.getpid(), helper.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REGIME_W_FAKE_GPUS", "8")
    monkeypatch.setenv("REGIME_W_LEASE_DIR", str(tmp_path / "leases"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return tmp_path


@pytest.fixture
def start(place: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a job that goes on until it is ended; those left are ended by SIGTERM."""
    jobs = []

    def begin(*options: str, code: str = FAMILY) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        jobs.append(
            subprocess.Popen(command(*options, code=code), stdout=pipe, stderr=pipe, text=True, preexec_fn=heed_signals)
        )
        return jobs[-1]

    yield begin
    for each in jobs:
        each.terminate()
        each.communicate()


def command(*options: str, code: str) -> list[str]:
    return [sys.executable, "-m", "regime_w.runtime.job", "--stage", "test", *options, "--", sys.executable, "-c", code]


def once(*options: str, code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*options, code=code), capture_output=True, text=True, timeout=120)


def family(process: subprocess.Popen[str]) -> list[int]:
    assert process.stdout is not None
    return [int(pid) for pid in process.stdout.readline().split()]


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def gone(pids: list[int]) -> bool:
    return not any(map(runs, pids))


def runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:  # it may end between two looks at it
        return False


SEEN = "import os; print(repr(os.environ.get('CUDA_VISIBLE_DEVICES')), os.environ['CUDA_DEVICE_ORDER'])"


def test_a_cpu_stage_sees_no_gpu(place: Path) -> None:
    assert once(code=SEEN).stdout == "'' PCI_BUS_ID\n"


def test_a_stage_sees_its_gpus_only(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert once("--gpus", "2", code=SEEN).stdout == "'0,1' PCI_BUS_ID\n"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "6,3")
    with gpu.lease(1) as ids:
        assert ids == ["6"]
        assert once("--gpus", "1", code=SEEN).stdout == "'3' PCI_BUS_ID\n"


def test_too_many_gpus_is_one_line(place: Path) -> None:
    done = once("--gpus", "9", code="")
    assert done.returncode == 2
    assert re.match(rf"{STAMP}error: 9 GPUs were asked for, 8 are visible", done.stderr)
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("code", "status"),
    [("", 0), ("raise SystemExit(7)", 7), ("import os; os.kill(os.getpid(), 15)", 143)],
)
def test_the_stages_status_is_ours(place: Path, code: str, status: int) -> None:
    done = once("--usage", "use/u.json", "--lock", "data/out.json", code=code)
    assert done.returncode == status
    assert Path("use/u.json").exists() == (status == 0)


def test_a_killed_stage_points_at_memory(place: Path) -> None:
    done = once(code="import os; os.kill(os.getpid(), 9)")
    assert done.returncode == 137
    assert "mem_mb" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_command_that_cannot_start_is_one_line(place: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "regime_w.runtime.job", "--stage", "x", "--", "./none"], capture_output=True, text=True
    )
    assert done.returncode == 2
    told = re.escape("error: ./none: No such file or directory; the stage could not be started\n")
    assert re.fullmatch(r"\d\d:\d\d:\d\d x  " + told, done.stderr)


def test_a_job_on_a_shared_gpu_costs_its_part(place: Path) -> None:
    once(
        "--gpus", "1", "--jobs-per-gpu", "4", "--usage", "use/u.json", code="import time; time.sleep(0.2)"
    ).check_returncode()
    usage = read_record("use/u.json")
    assert usage["gpu_seconds"] == pytest.approx(usage["seconds"] / 4, abs=0.02)


@pytest.mark.parametrize("jobs", ["0", "-1", "many", ""])
def test_a_wrong_number_of_jobs_starts_nothing(place: Path, jobs: str) -> None:
    done = once("--gpus", "1", "--jobs-per-gpu", jobs, code="open('ran', 'w')")
    assert done.returncode == 2
    assert "--jobs-per-gpu" in done.stderr
    assert not Path("ran").exists()


def test_usage_record(place: Path) -> None:
    once("--gpus", "2", "--usage", "use/u.json", code="sum(range(10**6)); bytearray(60 * 2**20)").check_returncode()
    usage = read_record("use/u.json")
    assert set(usage) == {
        "stage", "seconds", "cpu_seconds", "peak_memory_mb", "gpus", "gpu_seconds", "started", "host"
    }  # fmt: skip
    assert usage["stage"] == "test"
    assert usage["gpu_seconds"] == pytest.approx(2 * usage["seconds"], abs=0.02)
    assert usage["cpu_seconds"] > 0
    assert usage["peak_memory_mb"] >= 60
    assert [row["index"] for row in usage["gpus"]] == [0, 1]
    assert platform.node() not in usage["host"]
    assert not list(Path("use").glob(".*"))


def test_memory_that_processes_share_counts_once(place: Path) -> None:
    code = "import os, time; held = bytearray(200 * 2**20); [os.fork() for _ in range(2)]; time.sleep(5)"
    once("--usage", "u.json", code=code).check_returncode()
    assert 200 <= json.loads(Path("u.json").read_text())["peak_memory_mb"] < 400


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_outlives_the_wrapper(start: Callable[..., subprocess.Popen[str]], signum: signal.Signals) -> None:
    process = start("--gpus", "8", "--usage", "u.json")
    pids = family(process)
    process.send_signal(signum)
    process.wait()
    wait_until(lambda: gone(pids))
    with gpu.lease(8, timeout=60):
        pass
    assert not Path("u.json").exists()


def test_nothing_outlives_the_inner_process(start: Callable[..., subprocess.Popen[str]]) -> None:
    process = start()
    pids = family(process)
    (inner,) = psutil.Process(process.pid).children()
    inner.kill()
    assert process.wait() == 137
    assert gone(pids)


def test_what_a_stage_leaves_running_is_ended(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = once(code=FAMILY.replace("time.sleep(600)\n", ""))
    assert done.returncode == 0
    assert gone([int(pid) for pid in done.stdout.split()])


def test_signals_reach_the_stage_and_a_second_one_kills(start: Callable[..., subprocess.Popen[str]]) -> None:
    stubborn = """
import os, signal, time
def told(signum, frame):
    print("told", signum, flush=True)
signal.signal(signal.SIGTERM, told)
print(os.getpid(), flush=True)
while True:
    time.sleep(600)
"""
    process = start(code=stubborn)
    pids = family(process)
    process.terminate()
    assert process.stdout is not None
    assert process.stdout.readline() == "told 15\n"
    process.terminate()
    assert process.wait() == 137
    assert gone(pids)


def test_a_stage_that_ends_in_order_on_a_signal(start: Callable[..., subprocess.Popen[str]]) -> None:
    process = start(
        code="""
import os, time
print(os.getpid(), flush=True)
try:
    time.sleep(600)
except KeyboardInterrupt:
    raise SystemExit(130)
"""
    )
    family(process)
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130


def test_the_stage_is_called_by_its_logs_name(place: Path) -> None:
    code = "from regime_w.runtime.errors import UserError, run\ndef main():\n  raise UserError('no good')\nrun(main)"
    done = once("--lock", "logs/demo/round1/test/3-of-8.log", code=code)
    assert re.fullmatch(r"\d\d:\d\d:\d\d test 3-of-8  error: no good\n", done.stderr)


def test_a_lock_of_a_long_name(start: Callable[..., subprocess.Popen[str]]) -> None:
    name = "/".join(["a" * 100] * 5)
    family(start("--lock", name))
    assert once("--lock", name, code="").returncode == 2
    assert once("--lock", f"{name}b", code="").returncode == 0


def test_a_second_copy_is_refused(start: Callable[..., subprocess.Popen[str]]) -> None:
    first = start("--lock", "data/demo/out.jsonl")
    pids = family(first)
    second = once("--lock", "data/demo/out.jsonl", code="print('ran')")
    assert second.returncode == 2
    assert second.stdout == ""
    told = re.escape(f"error: another copy of this job (pid {first.pid}, host {platform.node()})")
    assert re.match(STAMP + told, second.stderr)
    assert second.stderr.count("\n") == 1
    assert not Path("data").exists()
    assert once("--lock", "data/demo/other.jsonl", code="").returncode == 0
    first.kill()
    first.wait()
    wait_until(lambda: gone(pids))
    wait_until(lambda: once("--lock", "data/demo/out.jsonl", code="").returncode == 0)


def no_flock(*_: object) -> None:
    raise OSError(38, "Function not implemented")


@pytest.mark.parametrize("host", [platform.node(), "elsewhere"])
def test_without_shared_file_locks_a_copy_counts_while_it_writes(
    place: Path, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setattr(job, "HEARTBEAT_SECONDS", 0.1)
    if host == platform.node():
        monkeypatch.setattr(job.fcntl, "flock", no_flock)
    record = {"pid": 1, "host": host, "beat": 1}
    job.LOCKS.mkdir(parents=True)
    path = job.LOCKS / "out"
    path.write_text(json.dumps(record))
    with job.only_copy(Path("out")):  # it wrote nothing more: gone
        assert json.loads(path.read_text())["pid"] == os.getpid()
    assert path.read_text() == ""
    path.write_text(json.dumps(record))
    sleep = time.sleep

    def meanwhile(seconds: float) -> None:
        path.write_text(json.dumps(record | {"beat": 2}))
        sleep(0)

    monkeypatch.setattr(job.time, "sleep", meanwhile)
    with pytest.raises(UserError, match=f"pid 1, host {host}"), job.only_copy(Path("out")):
        pass


def test_a_copy_whose_record_is_overwritten_gives_way(place: Path) -> None:
    path = job.LOCKS / "out"
    with pytest.raises(UserError, match="pid 1, host elsewhere"), job.only_copy(Path("out")) as beat:
        beat()
        path.write_text(json.dumps({"pid": 1, "host": "elsewhere", "beat": 1}))
        beat()
    assert json.loads(path.read_text())["pid"] == 1
