"""The lease: GPUs are never shared, never lost, and many requests at once all end."""

import os
import signal
import subprocess
import sys
import time
import types
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from helpers import ROOT

from regime_w.runtime import gpu
from regime_w.runtime.errors import UserError

# Takes a lease, claims each GPU by an exclusive file of its own, and gives it back: two holders at once would collide.
HOLDER = """
import os, sys, time
from regime_w.runtime.gpu import lease
n, claims, seconds, jobs = int(sys.argv[1]), sys.argv[2], float(sys.argv[3]), int(sys.argv[4])
with lease(n, jobs_per_gpu=jobs) as ids:
    assert len(set(ids)) == n
    for id in ids:
        os.close(os.open(f"{claims}/{id}", os.O_CREAT | os.O_EXCL))
    print("holds", ",".join(ids), flush=True)
    time.sleep(seconds)
    for id in ids:
        os.unlink(f"{claims}/{id}")
"""


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of 8 pretended GPUs with its own lock folder; returns a folder for claims."""
    monkeypatch.setenv("REGIME_W_FAKE_GPUS", "8")
    monkeypatch.setenv("REGIME_W_LEASE_DIR", str(tmp_path / "leases"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    claims = tmp_path / "claims"
    claims.mkdir()
    return claims


@pytest.fixture
def hold(machine: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a process that holds n GPUs for some seconds; those still alive at the end are killed."""
    started = []

    def start(n: int, seconds: float = 600.0, jobs: int = 1) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", HOLDER, str(n), str(machine), str(seconds), str(jobs)]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def ids_of(process: subprocess.Popen[str]) -> list[str]:
    assert process.stdout is not None
    return process.stdout.readline().removeprefix("holds ").strip().split(",")


def test_mixed_jobs_never_share_a_gpu_and_all_end(hold: Callable[..., subprocess.Popen[str]]) -> None:
    jobs = [hold(n, 0.05) for n in (1, 8, 2, 1, 2, 8, 1, 2, 1, 1, 8, 2, 1, 2)]
    for job in jobs:
        _, err = job.communicate(timeout=120)
        assert job.returncode == 0, err


def test_a_killed_holders_gpus_are_free(machine: Path, hold: Callable[..., subprocess.Popen[str]]) -> None:
    holder = hold(8)
    assert len(ids_of(holder)) == 8
    waiter = hold(8, 0)
    for claim in machine.iterdir():
        claim.unlink()
    holder.send_signal(signal.SIGKILL)
    assert len(ids_of(waiter)) == 8


def test_jobs_that_share_a_gpu(
    machine: Path, hold: Callable[..., subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with ExitStack() as held:
        ids = [held.enter_context(gpu.lease(1, jobs_per_gpu=3))[0] for _ in range(6)]
        assert ids == ["0", "1"] * 3  # each where there is most room
        for jobs in (3, 1):
            with pytest.raises(UserError, match="gave up"), gpu.lease(1, timeout=0.3, jobs_per_gpu=jobs):
                pass
    with gpu.lease(2) as both:
        assert both == ["0", "1"]
        with pytest.raises(UserError, match="gave up"), gpu.lease(1, timeout=0.3, jobs_per_gpu=3):
            pass
    sharing_two = [hold(1, jobs=3), hold(1, jobs=3)]
    assert sorted(ids_of(holder) for holder in sharing_two) == [["0"], ["1"]]  # whichever starts first
    pids = ", ".join(sorted(str(holder.pid) for holder in sharing_two))
    with pytest.raises(UserError, match=f"0 of 2 free, held by pid {pids}"), gpu.lease(1, timeout=0.3):
        pass
    with pytest.raises(UserError, match="a job of 2 GPUs cannot share them"), gpu.lease(2, jobs_per_gpu=3):
        pass


def test_a_large_request_is_not_overtaken(machine: Path, hold: Callable[..., subprocess.Popen[str]]) -> None:
    first = hold(1)
    ids_of(first)
    large = hold(8)
    assert large.stderr is not None
    assert "waiting for 8 GPUs" in large.stderr.readline()
    with pytest.raises(UserError, match=f"queued behind pid {large.pid}"), gpu.lease(1, timeout=0.5):
        pass


def test_disjoint_sets_do_not_wait_for_each_other(
    machine: Path, hold: Callable[..., subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    ids_of(hold(1))
    waiting = hold(2)
    assert waiting.stderr is not None
    waiting.stderr.readline()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    with gpu.lease(2, timeout=20) as ids:
        assert ids == ["2", "3"]


def test_waiting_says_for_what(machine: Path, hold: Callable[..., subprocess.Popen[str]]) -> None:
    holder = hold(7)
    ids_of(holder)
    pattern = f"waiting for 2 GPUs: 1 of 8 free, held by pid {holder.pid}"
    with pytest.raises(UserError, match=pattern), gpu.lease(2, timeout=0.5):
        pass
    with gpu.lease(1) as ids:
        assert len(ids) == 1


@pytest.mark.parametrize(
    ("preset", "expected"),
    [
        (None, [str(i) for i in range(8)]),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("5", ["5"]),
        ("6, 2", ["6", "2"]),
        ("3,-1,4", ["3"]),
    ],
)
def test_preset_devices_are_honoured(
    machine: Path, monkeypatch: pytest.MonkeyPatch, preset: str | None, expected: list[str]
) -> None:
    if preset is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", preset)
    assert gpu.visible_gpus() == expected
    with gpu.lease(len(expected)) as ids:
        assert ids == expected


def test_uuids_are_honoured_and_name_the_same_lock(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "_machine", lambda: ["GPU-aa11", "GPU-bb22", "GPU-bc33"])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-bb,GPU-aa11")
    with gpu.lease(1) as ids:
        assert ids == ["GPU-bb"]
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
        with pytest.raises(UserError, match="waiting for 1 GPU: "), gpu.lease(1, timeout=0.3):
            pass
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-b")
    with pytest.raises(UserError, match="GPU-b"):
        gpu.visible_gpus()


def test_mig_slices_are_named_by_uuid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "_machine", lambda: ["MIG-aa", "MIG-bb"])
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert gpu.visible_gpus() == ["MIG-aa", "MIG-bb"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-bb")
    assert gpu.visible_gpus() == ["MIG-bb"]


@pytest.mark.parametrize("preset", ["8", "0,0", "GPU-none", "gpu0"])
def test_a_wrong_preset_is_one_line(machine: Path, monkeypatch: pytest.MonkeyPatch, preset: str) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", preset)
    with pytest.raises(UserError, match="nvidia-smi -L"):
        gpu.visible_gpus()


def test_too_many_names_how_many_there_are(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,2")
    with pytest.raises(UserError, match=r"3 GPUs .* 2 are visible .*'1,2'.* --resources gpu=2"), gpu.lease(3):
        pass


def test_no_driver_means_no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REGIME_W_FAKE_GPUS", raising=False)
    monkeypatch.setitem(sys.modules, "pynvml", None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert gpu.visible_gpus() == []
    with gpu.lease(0) as ids:
        assert ids == []


def test_a_removed_lock_file_locks_nobody_in(machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.lock"
    real = gpu._open_lock_file

    def removed_meanwhile(path: Path) -> int:
        fd = real(path)
        path.unlink()
        return fd

    monkeypatch.setattr(gpu, "_open_lock_file", removed_meanwhile)
    assert gpu._try_lock(path) is None


def test_links_and_pipes_in_the_lock_folder_are_refused(machine: Path, tmp_path: Path) -> None:
    leases = tmp_path / "leases"
    leases.mkdir()
    target = tmp_path / "private"
    target.write_text("kept")
    (leases / "fake0.queue").symlink_to(target)
    with pytest.raises(UserError, match=r"fake0\.queue"), gpu.lease(1):
        pass
    (leases / "fake0.queue").unlink()
    os.mkfifo(leases / "fake0.queue")
    with pytest.raises(UserError, match="not a plain file"), gpu.lease(1):
        pass
    assert target.read_text() == "kept"


def test_the_lock_files_stay_empty_and_unwritable_for_others(machine: Path, tmp_path: Path) -> None:
    old = os.umask(0o077)
    try:
        with gpu.lease(8):
            pass
    finally:
        os.umask(old)
    files = list((tmp_path / "leases").iterdir())
    assert len(files) == 16
    assert {(f.stat().st_size, f.stat().st_mode & 0o777) for f in files} == {(0, 0o644)}


def test_pretended_gpus_have_a_usage_row(machine: Path) -> None:
    with gpu.UsageSampler(["3"]) as usage:
        time.sleep(0)
    (row,) = usage.summary()
    assert set(row) == {"index", "name", "mean_utilisation", "max_memory_mb", "energy_wh", "mean_power_w"}
    assert row["index"] == 3


class Nvml(types.ModuleType):
    """A driver of two GPUs, the first withheld from us, or in MIG mode with two slices."""

    class NVMLError(Exception):
        pass

    def __init__(self, mig: bool = False) -> None:
        super().__init__("pynvml")
        self.mig, self.joules = mig, 0

    def nvmlInit(self) -> None: ...
    def nvmlShutdown(self) -> None: ...
    def nvmlDeviceGetCount(self) -> int:
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:
        if index == 0:
            raise self.NVMLError
        return "GPU-b"

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        return uuid

    def nvmlDeviceGetMigMode(self, _: str) -> list[int]:
        if not self.mig:
            raise self.NVMLError
        return [1, 1]

    def nvmlDeviceGetMaxMigDeviceCount(self, _: str) -> int:
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, _: str, index: int) -> str:
        if index > 1:
            raise self.NVMLError
        return f"MIG-{index}"

    def nvmlDeviceGetUUID(self, handle: str) -> str:
        return handle

    def nvmlDeviceGetName(self, _: str) -> str:
        return "H100"

    def nvmlDeviceGetTotalEnergyConsumption(self, _: str) -> int:
        self.joules += 3600
        return self.joules * 1000

    def nvmlDeviceGetUtilizationRates(self, _: str) -> types.SimpleNamespace:
        if self.mig:
            raise self.NVMLError
        return types.SimpleNamespace(gpu=80)

    def nvmlDeviceGetMemoryInfo(self, _: str) -> types.SimpleNamespace:
        return types.SimpleNamespace(used=5 * 2**30)

    def nvmlDeviceGetPowerUsage(self, _: str) -> int:
        return 350_000


@pytest.mark.parametrize(("mig", "ids"), [(False, ["0"]), (True, ["MIG-0", "MIG-1"])])
def test_what_the_driver_tells(monkeypatch: pytest.MonkeyPatch, mig: bool, ids: list[str]) -> None:
    monkeypatch.delenv("REGIME_W_FAKE_GPUS", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setitem(sys.modules, "pynvml", Nvml(mig))
    assert gpu.visible_gpus() == ids
    with gpu.UsageSampler(ids[:1]) as usage:
        pass
    assert usage.summary() == [
        {
            "index": 0,
            "name": "H100",
            "mean_utilisation": 0.0 if mig else 80.0,
            "max_memory_mb": 5120,
            "energy_wh": 1.0,
            "mean_power_w": 350.0,
        }
    ]
