"""Limits of the machine, each told by its own name in one line: memory, sizes of files, shared memory, suspension, no name."""

import errno
import getpass
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers import ROOT

from regime_w.runtime import parallel
from regime_w.runtime.errors import UserError
from regime_w.runtime.records import new_file, private_folder
from regime_w.runtime.user import name_user
from regime_w.sampling import collect

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]
WRITES = "import sys; from regime_w.runtime import errors, records; errors.run(lambda: records.write_text('out.txt', 'x' * 10**5))"


def limited(folder: Path, limit: int, size: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Python in that folder under a limit of so many bytes."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        preexec_fn=lambda: resource.setrlimit(limit, (size, size)),
    )


def test_a_file_larger_than_allowed(tmp_path: Path) -> None:
    done = limited(tmp_path, resource.RLIMIT_FSIZE, 4096, "-c", WRITES)
    assert done.returncode == 2
    assert done.stderr == "error: out.txt: larger than a file may be here; raise `ulimit -f`, then run again\n"
    assert not list(tmp_path.iterdir())


def test_too_little_memory_for_a_stages_libraries(tmp_path: Path) -> None:
    done = limited(tmp_path, resource.RLIMIT_AS, 250 * 2**20, "-m", "scripts.train_sft", "--help")
    assert done.returncode != 0
    assert done.stderr.startswith("error: out of memory (")
    assert "`ulimit -v`" in done.stderr
    assert done.stderr.count("\n") == 1


def test_an_error_of_another_file_keeps_its_name(tmp_path: Path) -> None:
    """A source that is missing while an output is written was told as the output."""
    with pytest.raises(FileNotFoundError) as caught, new_file(tmp_path / "out.txt"):
        open(tmp_path / "source.txt")  # noqa: SIM115 (it is not there)
    assert caught.value.filename == str(tmp_path / "source.txt")


def doubled(_: None, task: int) -> int:
    return 2 * task


def test_without_shared_memory_one_process_does_the_work(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_pool(*_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(parallel, "ProcessPoolExecutor", no_pool)
    assert list(parallel.in_order(doubled, range(5), 3, None)) == [0, 2, 4, 6, 8]
    assert "/dev/shm" in caplog.text


@pytest.mark.parametrize(
    ("number", "told"),
    [(signal.SIGBUS, "/dev/shm"), (signal.SIGSEGV, "ulimit -v"), (signal.SIGABRT, "ulimit -v"), (signal.SIGXCPU, "-t")],
)
def test_a_signal_is_told_with_its_cause(tmp_path: Path, number: signal.Signals, told: str) -> None:
    kill = [sys.executable, "-c", f"import os; os.kill(os.getpid(), {number:d})"]
    done = subprocess.run(
        [sys.executable, "-m", "regime_w.runtime.job", "--stage", "own", "--", *kill],
        cwd=tmp_path, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 128 + number
    assert f"error: own was ended by {number.name}" in done.stderr
    assert told in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("looks", "ended"), [([1, 2, 3, 4, 5, 6], True), ([1, 2, 900, 901], False), ([1, 2, 900, 901, 902, 903], True)]
)
def test_a_suspended_job_is_no_hung_engine(monkeypatch: pytest.MonkeyPatch, looks: list[float], ended: bool) -> None:
    """With a stall_timeout of 5 s: looks a second apart add up to it, one long gap does not."""
    left: list[int] = []
    clock = iter([0.0, *looks])
    monkeypatch.setattr(collect.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(collect.os, "_exit", left.append)
    watchdog = collect._Watchdog(5)
    over = iter([False] * len(looks) + [True])
    monkeypatch.setattr(watchdog.stop, "wait", lambda _: next(over))
    watchdog._watch()
    assert bool(left) == ended


def test_a_second_user_of_a_checkout_is_told_whose_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "locks").mkdir(mode=0o700)
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(UserError, match=rf"locks: is {tmp_path.owner()}'s alone.*clone of your own"):
        private_folder(tmp_path / "locks")


def test_a_user_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """A uid without an entry in passwd, as in containers."""
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)

    def unknown(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr("pwd.getpwuid", unknown)
    monkeypatch.setenv("LOGNAME", "")  # restored by monkeypatch afterwards
    name_user()
    assert getpass.getuser() == f"uid{os.getuid()}"
