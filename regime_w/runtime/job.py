"""Run one stage: its own GPUs, one copy of it at a time, its whole process tree ended with it, its use recorded.

    python -m regime_w.runtime.job --stage generate --gpus 1 --lock LOG --usage USAGE.json -- python -m scripts.generate ...

The stage is called by its log's name in all that it says (regime_w/runtime/log.py). It sees its GPUs through
CUDA_VISIBLE_DEVICES; with `--gpus 0` it sees none. Its exit status becomes ours, 128 + signal where a signal ended it.
SIGINT, SIGTERM and SIGHUP go on to the stage, which then has 20 s to end; a second one, or our own death by SIGKILL, kills
it at once. Nothing that it started outlives it: an engine would keep GPU memory.

Two processes do that, the second a fork of the first that starts the stage. Each adopts what the stage leaves behind,
so that whichever of them is killed, the other finds and ends all the rest, and holds GPUs and lock until then.

USAGE.json, written only if the stage succeeds (times in seconds, memory in MiB):
    {"stage": "generate", "seconds": 81.2, "cpu_seconds": 95.0, "peak_memory_mb": 5120,
     "gpus": [{"index": 0, "name": "NVIDIA H100 80GB HBM3", "mean_utilisation": 93.0, "max_memory_mb": 70321,
               "energy_wh": 12.1, "mean_power_w": 540.3}],
     "gpu_seconds": 81.2, "started": "2026-01-31T12:00:00+00:00", "host": "Linux-6.1-x86_64"}
"""

import argparse
import errno
import fcntl
import json
import os
import platform
import resource
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

import psutil

from regime_w.runtime.compute import compile_caches
from regime_w.runtime.errors import UserError, run, say
from regime_w.runtime.gpu import UsageSampler, lease
from regime_w.runtime.log import JOB, name_of
from regime_w.runtime.processes import adopt_orphans, die_with_parent
from regime_w.runtime.records import fingerprint, private_folder
from regime_w.runtime.seals import write_record

LOCKS = Path("logs/.locks")
LONGEST_NAME = 250  # bytes of a file's name
GRACE_SECONDS = 20.0
LEFTOVER_SECONDS = 5.0
MEMORY_SECONDS = 2.0
HEARTBEAT_SECONDS = 5.0
# What ends a stage from outside, or from inside a library.
CAUSES: dict[int, str] = {
    signal.SIGKILL: ", most likely for want of memory; give it more with --set-resources {stage}:mem_mb=N"
    " (its processes were seen at {peak:.0f} MiB)",
    signal.SIGBUS: ": a file that it read was cut short, or the disk or /dev/shm that holds one is full",
    signal.SIGXFSZ: ": a file is larger than `ulimit -f` allows; raise it",
    signal.SIGXCPU: ": more CPU time than `ulimit -t` allows; raise it",
    signal.SIGSEGV: " inside a library; with too little memory (`ulimit -v`) libraries end so",
    signal.SIGABRT: " inside a library; with too little memory (`ulimit -v`) libraries end so",
}
FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> None:
    own, command = _split(sys.argv[1:])
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage="%(prog)s [options] -- COMMAND"
    )
    parser.add_argument("--stage", required=True, help="name in the usage record")
    parser.add_argument("--gpus", type=int, default=0, help="GPUs to lease; 0 hides them all from the stage")
    parser.add_argument("--jobs-per-gpu", type=int, default=1, help="jobs that share a GPU; above 1 with --gpus 1")
    parser.add_argument("--usage", type=Path, help="usage record to write")
    parser.add_argument("--lock", type=Path, help="file of the stage: refuse to start while another copy writes it")
    args = parser.parse_args(own)
    if not command:
        parser.error("no command after --")
    os.environ[JOB] = name_of(args.stage, args.lock)
    if args.jobs_per_gpu < 1:
        parser.error(f"--jobs-per-gpu {args.jobs_per_gpu}: a number from 1 was expected")
    _handle(_leave)
    with only_copy(args.lock) as beat, lease(args.gpus, jobs_per_gpu=args.jobs_per_gpu) as gpus:
        adopt_orphans()
        outer = os.getpid()
        # Python 3.12 warns of threads that libraries started at import; the child uses none of them.
        warnings.filterwarnings("ignore", ".*use of fork", DeprecationWarning)
        inner = os.fork()
        if not inner:
            os._exit(_guarded(lambda: _stage(args, command, gpus, outer)))
        status = _watch(inner, beat)
    sys.exit(status)


@contextmanager
def only_copy(output: Path | None) -> Iterator[Callable[[], None]]:
    """Hold the lock of an output's making; yields a function to call every few seconds.

    The lock is a `flock` on a file in logs/.locks, which is where all copies of a workflow meet. Not every shared file
    system passes locks on between machines, so the holder also writes who it is, and keeps writing; of two that start
    at once there, the one whose record is overwritten ends at its next call.
    UserError where another copy holds it, from the yielded function too.
    """
    if output is None:
        yield lambda: None
        return
    name = os.path.relpath(output).replace("/", "--")
    if len(os.fsencode(name)) > LONGEST_NAME:
        name = fingerprint(name)
    path = private_folder(LOCKS) / name
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        locked = True
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise _copy_runs(output, _record(path)) from None
            locked = False  # no locks on this file system: the record alone decides
        _refuse_if_alive(output, path, locked)
        own = {"pid": os.getpid(), "host": platform.node()}

        def write() -> None:
            text = json.dumps(own | {"beat": time.time()})
            with suppress(OSError):  # a full disk must not end the job
                os.pwrite(fd, text.encode().ljust(256), 0)
                os.fsync(fd)

        def ours() -> bool:
            record = _record(path)
            return not record or own.items() <= record.items()

        def beat() -> None:
            if not ours():
                raise _copy_runs(output, _record(path))
            write()

        write()
        try:
            yield beat
        finally:
            if os.getpid() == own["pid"] and ours():
                os.ftruncate(fd, 0)
    finally:
        os.close(fd)


def _refuse_if_alive(output: Path, path: Path, locked: bool) -> None:
    record = _record(path)
    if not record:
        return  # free, or given back in order
    if locked and record["host"] == platform.node():
        return  # one machine's locks are always passed on: its holder is gone
    # Is it still writing? Only a change counts, since clocks may differ.
    end = time.monotonic() + 3 * HEARTBEAT_SECONDS
    while time.monotonic() < end:
        time.sleep(0.5)
        if (now := _record(path)) and now != record:
            raise _copy_runs(output, now)


def _copy_runs(output: Path, record: dict[str, Any]) -> UserError:
    who = f"pid {record.get('pid', '?')}, host {record.get('host', '?')}"
    return UserError(
        f"another copy of this job ({who}) is running and writes {output}; wait for it to end or end it, then run again"
    )


def _record(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text())
        return {"pid": int(record["pid"]), "host": str(record["host"]), "beat": record["beat"]}
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def _watch(inner: int, beat: Callable[[], None]) -> int:
    """The outer process: pass signals on to the inner one, return its status, end what it left if it was killed."""
    _handle(lambda signum, _: os.kill(inner, signum))  # not reaped yet, so it is still that process
    last = time.monotonic()
    while True:
        pid, status = os.waitpid(inner, os.WNOHANG)
        if pid:
            break
        time.sleep(0.05)
        if time.monotonic() - last > HEARTBEAT_SECONDS:
            last = time.monotonic()
            beat()
    _handle(signal.SIG_IGN)
    _end_descendants(0.0)
    code = os.waitstatus_to_exitcode(status)
    return 128 - code if code < 0 else code


def _stage(args: argparse.Namespace, command: list[str], gpus: list[str], outer: int) -> int:
    """The inner process: run the stage, end its tree, write its usage; returns the exit status."""
    os.setsid()  # Ctrl-C reaches us through the outer process, once
    adopt_orphans()
    child: subprocess.Popen[bytes] | None = None
    received: list[int] = []

    def forward(signum: int, _: FrameType | None) -> None:
        received.append(signum)
        if child is not None:
            child.send_signal(signal.SIGKILL if len(received) > 1 or os.getppid() != outer else signum)

    _handle(forward)
    die_with_parent(signal.SIGTERM)
    if os.getppid() != outer:
        return 128 + signal.SIGKILL
    # Indices in CUDA_VISIBLE_DEVICES are then NVML's, those that nvidia-smi shows.
    env = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"} | os.environ | {"CUDA_VISIBLE_DEVICES": ",".join(gpus)}
    if gpus:
        env = compile_caches() | env  # here, since torch settles its own place when a stage imports it
    started, start = datetime.now(UTC), time.monotonic()
    try:
        child = subprocess.Popen(command, env=env, start_new_session=True, preexec_fn=die_with_parent)
    except OSError as error:
        raise UserError(f"{command[0]}: {error.strerror}; the stage could not be started") from None
    for early in received:
        child.send_signal(early)
    with UsageSampler(gpus) as sampler:
        peak = _wait(child, received)
    seconds = time.monotonic() - start
    # Helpers such as multiprocessing's resource tracker end by themselves a moment after the stage.
    _end_descendants(0.0 if child.returncode else LEFTOVER_SECONDS)
    if child.returncode:
        if -child.returncode in CAUSES and not received:
            cause = CAUSES[-child.returncode].format(stage=args.stage, peak=peak)
            say(f"error: {args.stage} was ended by {signal.Signals(-child.returncode).name}{cause}")
        return 128 - child.returncode if child.returncode < 0 else child.returncode
    if args.usage:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        unit = 2**20 if sys.platform == "darwin" else 2**10
        write_record(
            args.usage,
            {
                "stage": args.stage,
                "seconds": round(seconds, 2),
                "cpu_seconds": round(children.ru_utime + children.ru_stime, 2),
                "peak_memory_mb": round(max(peak, children.ru_maxrss / unit)),
                "gpus": sampler.summary(),
                "gpu_seconds": round(seconds * len(gpus) / args.jobs_per_gpu, 2),  # the GPU's other jobs pay the rest
                "started": started.isoformat(timespec="seconds"),
                "host": platform.platform(),
            },
        )
    return 0


def _wait(child: "subprocess.Popen[bytes]", received: list[int]) -> float:
    """Wait for the stage, kill it when its time to end is up; returns the highest memory of its tree seen, in MiB."""
    peak, sampled, killing_at = 0.0, 0.0, float("inf")
    while True:
        with suppress(subprocess.TimeoutExpired):
            child.wait(timeout=0.5)
            return peak
        now = time.monotonic()
        if received and killing_at == float("inf"):
            killing_at = now + GRACE_SECONDS
        if now >= killing_at:
            child.kill()
        if now - sampled >= MEMORY_SECONDS:
            sampled = now
            total = 0
            for process in _descendants():
                with suppress(psutil.Error):
                    total += _memory(process)
            peak = max(peak, total / 2**20)


def _memory(process: psutil.Process) -> int:
    """Bytes, of pages shared by several processes (a model file, an engine's queue) this one's part, where Linux tells it."""
    with suppress(psutil.AccessDenied, AttributeError):
        return int(process.memory_full_info().pss)
    return int(process.memory_info().rss)


def _end_descendants(patience: float) -> None:
    """Kill all processes below this one that don't end within `patience` seconds, and reap them."""
    end = time.monotonic() + patience
    while left := _descendants():
        if time.monotonic() >= end:
            for process in left:
                with suppress(psutil.Error):
                    process.kill()
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.02)


def _descendants() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


def _handle(handler: "Callable[[int, FrameType | None], None] | signal.Handlers") -> None:
    for signum in FORWARDED:
        # What nohup, or a shell's `&`, made us ignore stays ignored. Our parent's death is told as SIGTERM, though.
        if signum == signal.SIGTERM or signal.getsignal(signum) != signal.SIG_IGN:
            signal.signal(signum, handler)


def _leave(signum: int, _: FrameType | None) -> None:
    raise KeyboardInterrupt if signum == signal.SIGINT else SystemExit(128 + signum)


def _guarded(function: Callable[[], int]) -> int:
    """The status of a fork's work, its errors told as `run` tells them; it must not return into its parent's code."""
    status = 1

    def work() -> None:
        nonlocal status
        status = function()

    try:
        run(work)
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
    return status


def _split(argv: list[str]) -> tuple[list[str], list[str]]:
    cut = argv.index("--") if "--" in argv else len(argv)
    return argv[:cut], argv[cut + 1 :]


if __name__ == "__main__":
    run(main)
