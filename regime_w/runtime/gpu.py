"""GPUs of this machine: which ones we may use, a lease on some of them, and what they did.

    with lease(2) as ids:               # waits until 2 are free; ["0", "3"], fit for CUDA_VISIBLE_DEVICES
        with UsageSampler(ids) as usage: ...
        usage.summary()

A lease is a `flock` on one file a physical GPU, named by its UUID, in a folder that all users of the machine share.
The kernel drops the lock when its holder dies, however it dies. The files are empty, never written and never read:
only the lock counts, so a folder that everybody can write to is safe. Snakemake's `gpu` resource limits the sum of one
workflow's jobs; the lease says which GPUs a job has, and keeps users, clones and workflows of one machine apart.

Environment:
    CUDA_VISIBLE_DEVICES   the GPUs to hand out (indices, GPU-... or MIG-... ids; empty or -1: none); unset: all
    REGIME_W_LEASE_DIR     folder of the lock files, on a local disk; containers that share GPUs must share it
    REGIME_W_FAKE_GPUS     pretend that the machine has this many GPUs: tests of the hand-out without hardware
"""

import errno
import fcntl
import os
import random
import re
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from regime_w.runtime.errors import UserError, say

SAMPLE_SECONDS = 0.5
POLL_SECONDS = 0.2
TELL_SECONDS = 60.0


def visible_gpus() -> list[str]:
    """Ids of the GPUs that we may use, in the form that CUDA_VISIBLE_DEVICES takes; none without an NVIDIA driver.

    UserError where CUDA_VISIBLE_DEVICES names a GPU that the machine lacks, or one twice.
    """
    return [gpu.id for gpu in _visible()]


def memory_of_a_gpu() -> int | None:
    """Bytes of the machine's smallest GPU; None where NVML tells none."""
    with _nvml() as nvml:
        handles = [
            _ask(nvml, nvml.nvmlDeviceGetHandleByIndex, n) for n in range(nvml.nvmlDeviceGetCount() if nvml else 0)
        ]
        found = [_ask(nvml, nvml.nvmlDeviceGetMemoryInfo, handle) for handle in handles if handle is not None]
    return min((memory.total for memory in found if memory), default=None)


@contextmanager
def lease(n: int, timeout: float | None = None, jobs_per_gpu: int = 1) -> Iterator[list[str]]:
    """Hold `n` of the visible GPUs, alone on this machine, and yield their ids; waits at most `timeout` seconds.

    With `jobs_per_gpu` above 1, `n` is 1 and the GPU is held with others of our kind, at most that many of them.
    All or nothing. Requests queue: one that waits for many GPUs is not overtaken by later ones for few. A fork of the
    holder shares the lease, which ends when both have left it or died.
    UserError where there are fewer than `n`, or time is up.
    """
    pool = _visible()
    if n > len(pool):
        preset = os.environ.get("CUDA_VISIBLE_DEVICES")
        said = "" if preset is None else f" (CUDA_VISIBLE_DEVICES={preset!r})"
        raise UserError(
            f"{n} GPUs were asked for, {len(pool)} are visible here{said}; run snakemake with"
            f" --resources gpu={len(pool)} or make more visible through CUDA_VISIBLE_DEVICES"
        )
    if n < 1:
        yield []
        return
    with ExitStack() as held:
        folder = _lease_folder(held)
        end = None if timeout is None else time.monotonic() + timeout
        places = _places(pool, n, jobs_per_gpu)
        waiting = _Waiting(n, folder, pool, places, end)
        with ExitStack() as queue:
            # Taken in one order by all, so no two requests wait for each other; disjoint sets of GPUs never meet.
            for gpu in sorted(pool, key=lambda gpu: gpu.key):
                _take(queue, waiting, [_Place(gpu, f"{gpu.key}.queue")], 1)
            # First in the queue of every GPU that we could use: nobody else can take one now.
            mine = _take(held, waiting, places, n)
        leased = {places[index].gpu for index in mine}
        yield [gpu.id for gpu in pool if gpu in leased]


class UsageSampler:
    """Samples utilisation, memory and power of leased GPUs through NVML every 0.5 s in a thread, as a context."""

    def __init__(self, ids: list[str]) -> None:
        self.gpus = [gpu for gpu in _visible() if gpu.id in ids]
        self.samples: dict[str, list[tuple[float, float, float]]] = {gpu.key: [] for gpu in self.gpus}
        self.names: dict[str, str] = {}
        self.energy_mj: dict[str, float] = {}
        self.seconds = 0.0
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> "UsageSampler":
        if self.gpus:
            self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        if self.gpus:
            self.thread.join()

    def _sample(self) -> None:
        start = time.monotonic()
        with _nvml() as nvml:
            handles = {} if nvml is None or _fakes() else {gpu.key: gpu.handle(nvml) for gpu in self.gpus}
            handles = {key: handle for key, handle in handles.items() if handle is not None}
            before = {}
            for key, handle in handles.items():
                self.names[key] = str(_ask(nvml, nvml.nvmlDeviceGetName, handle) or "")
                before[key] = _ask(nvml, nvml.nvmlDeviceGetTotalEnergyConsumption, handle)
            done = False
            while not done:
                done = self.stop.wait(SAMPLE_SECONDS)
                for key, handle in handles.items():
                    rates = _ask(nvml, nvml.nvmlDeviceGetUtilizationRates, handle)
                    memory = _ask(nvml, nvml.nvmlDeviceGetMemoryInfo, handle)
                    power = _ask(nvml, nvml.nvmlDeviceGetPowerUsage, handle)
                    self.samples[key].append(
                        (rates.gpu if rates else 0.0, memory.used / 2**20 if memory else 0.0, (power or 0) / 1000)
                    )
            for key, handle in handles.items():
                after = _ask(nvml, nvml.nvmlDeviceGetTotalEnergyConsumption, handle)
                if after is not None and before[key] is not None:
                    self.energy_mj[key] = after - before[key]
        self.seconds = time.monotonic() - start

    def summary(self) -> list[dict[str, Any]]:
        """One entry a GPU: index, name, mean_utilisation (%), max_memory_mb (MiB), energy_wh, mean_power_w.

        What the driver does not tell is 0, as is everything of a pretended GPU.
        """
        rows = []
        for gpu in self.gpus:
            seen = self.samples[gpu.key]
            power = sum(sample[2] for sample in seen) / max(len(seen), 1)
            # Old GPUs have no energy counter: their mean power over the time instead.
            energy = self.energy_mj.get(gpu.key, power * self.seconds * 1000) / 3.6e6
            rows.append(
                {
                    "index": gpu.position,
                    "name": self.names.get(gpu.key) or gpu.key,
                    "mean_utilisation": round(sum(sample[0] for sample in seen) / max(len(seen), 1), 1),
                    "max_memory_mb": round(max((sample[1] for sample in seen), default=0.0)),
                    "energy_wh": round(energy, 3),
                    "mean_power_w": round(power, 1),
                }
            )
        return rows


class _Gpu(NamedTuple):
    id: str  # as in CUDA_VISIBLE_DEVICES
    key: str  # the same for every process and container of the machine
    position: int  # NVML's index

    def handle(self, nvml: Any) -> Any:
        return _ask(nvml, nvml.nvmlDeviceGetHandleByUUID, self.key)


class _Place(NamedTuple):
    """What a job holds of a GPU: a lock alone, or one alone and a second with the GPU's other jobs."""

    gpu: _Gpu
    alone: str
    shared: str | None = None

    @property
    def locks(self) -> list[str]:
        return [self.alone, *([self.shared] if self.shared else [])]


class _Waiting:
    """Says now and then for what we wait, and ends the wait when time is up."""

    def __init__(self, n: int, folder: Path, pool: list[_Gpu], places: list[_Place], end: float | None) -> None:
        self.n, self.folder, self.pool, self.places, self.end = n, folder, pool, places, end
        self.start = time.monotonic()
        self.told = -TELL_SECONDS

    def pause(self) -> None:
        now = time.monotonic()
        if self.end is not None and now >= self.end:
            raise UserError(f"gave up after {now - self.start:.0f} s of {self._line()}")
        if now - self.told >= TELL_SECONDS:
            self.told = now
            say(self._line())
        time.sleep(POLL_SECONDS * random.uniform(0.5, 1.5))

    def _line(self) -> str:
        holders = _flock_holders()

        def holder(*names: str) -> int | None:
            return next((holders[file] for name in names if (file := _inode(self.folder / name)) in holders), None)

        taken = [holder(*place.locks) for place in self.places]
        queue = [holder(f"{gpu.key}.queue") for gpu in self.pool]
        free = sum(pid in (None, os.getpid()) for pid in taken)
        text = f"waiting for {self.n} GPU{'s' if self.n > 1 else ''}: {free} of {len(self.places)} free"
        for pids, what in ((taken, "held by"), (queue, "queued behind")):
            # Linux shows processes outside of our container as 0.
            names = sorted({str(pid or "of another container") for pid in pids if pid not in (None, os.getpid())})
            text += f", {what} pid {', '.join(names)}" if names else ""
        return text


def _visible() -> list[_Gpu]:
    keys = _machine()
    # Plain indices where possible: some libraries can't read UUIDs in CUDA_VISIBLE_DEVICES. A MIG slice has no index.
    mig = any(key.startswith("MIG-") for key in keys)
    every = [_Gpu(key if mig else str(index), key, index) for index, key in enumerate(keys)]
    preset = os.environ.get("CUDA_VISIBLE_DEVICES")
    if preset is None or not every:
        return every
    chosen: list[_Gpu] = []
    for entry in (part.strip() for part in preset.split(",")):
        if entry in ("", "-1", "NoDevFiles"):
            break  # as CUDA reads it: what follows doesn't count
        if entry.isdigit():
            found = every[int(entry) : int(entry) + 1]
        else:
            found = [gpu for gpu in every if entry.startswith(("GPU-", "MIG-")) and gpu.key.startswith(entry)]
        if len(found) != 1 or found[0].key in {gpu.key for gpu in chosen}:
            raise UserError(
                f"CUDA_VISIBLE_DEVICES={preset!r}: {entry!r} is not one of this machine's {len(every)} GPUs, or is"
                " there twice; give indices or ids as `nvidia-smi -L` lists them"
            )
        chosen.append(found[0]._replace(id=entry))
    return chosen


def _fakes() -> int:
    value = os.environ.get("REGIME_W_FAKE_GPUS", "")
    if value and not value.isdigit():
        raise UserError(f"REGIME_W_FAKE_GPUS={value!r}: a number of GPUs was expected; unset it to use real ones")
    return int(value or 0)


def _machine() -> list[str]:
    """UUIDs of the GPUs, or of the slices of those in MIG mode, in the order of NVML, which is that of the PCI bus."""
    if fakes := _fakes():
        return [f"fake{index}" for index in range(fakes)]
    keys: list[str] = []
    with _nvml() as nvml:
        for index in range(nvml.nvmlDeviceGetCount() if nvml else 0):
            # A GPU that a container or a scheduler withholds may be counted, but can't be opened.
            handle = _ask(nvml, nvml.nvmlDeviceGetHandleByIndex, index)
            if handle is None:
                continue
            mode = _ask(nvml, nvml.nvmlDeviceGetMigMode, handle)
            slices = _ask(nvml, nvml.nvmlDeviceGetMaxMigDeviceCount, handle) or 0 if mode and mode[0] else 0
            handles = [_ask(nvml, nvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, number) for number in range(slices)]
            keys += [nvml.nvmlDeviceGetUUID(each) for each in (handles if slices else [handle]) if each is not None]
    return keys


@contextmanager
def _nvml() -> Iterator[Any]:
    """Yield the started `pynvml` module, or None on a machine without it or without a driver."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:
        yield None
        return
    try:
        yield pynvml
    finally:
        with suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def _ask(nvml: Any, function: Callable[..., Any], *arguments: Any) -> Any:
    """The answer of an NVML function, None where this GPU or this user gets none."""
    try:
        return function(*arguments)
    except nvml.NVMLError:
        return None


def _lease_folder(held: ExitStack) -> Path:
    """The folder of the lock files, made if need be; kept open and locked so that cleaners of /tmp pass it by."""
    custom = os.environ.get("REGIME_W_LEASE_DIR")
    if custom:
        folder = Path(custom)
    else:
        # All users must agree: a sticky folder that everybody can write to, the one that no cleaner visits first.
        parents = [Path(name) for name in ("/run/lock", "/tmp")]
        shared = [p for p in parents if p.is_dir() and p.stat().st_mode & 0o1777 == 0o1777]
        folder = (shared or parents[1:])[0] / "regime-w-gpus"
    hint = "set REGIME_W_LEASE_DIR to a folder on a local disk that all users of the GPUs can write to"
    try:
        with suppress(FileExistsError):
            if custom:
                folder.mkdir(parents=True)
            else:
                folder.mkdir()
                folder.chmod(0o1777)
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | (0 if custom else os.O_NOFOLLOW))
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror}; {hint}") from None
    held.callback(os.close, fd)
    if os.fstat(fd).st_mode & 0o1002 == 0o002:
        raise UserError(f"{folder}: anybody can remove its lock files; chmod +t it, or {hint}")
    with suppress(OSError):
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    return folder


def _places(pool: list[_Gpu], n: int, jobs: int) -> list[_Place]:
    """The places that `n` GPUs are taken from, the first of every GPU before the second of one."""
    if jobs == 1:
        return [_Place(gpu, f"{gpu.key}.lock") for gpu in pool]
    if n > 1:
        raise UserError(f"a job of {n} GPUs cannot share them; set resources.jobs_per_gpu: 1 or give it one GPU")
    return [_Place(gpu, f"{gpu.key}.place{number}", f"{gpu.key}.lock") for number in range(jobs) for gpu in pool]


def _try_place(folder: Path, place: _Place) -> list[int]:
    """Lock a place and return its descriptors, none when another process holds it."""
    taken: list[int] = []
    for name in place.locks:
        fd = _try_lock(folder / name, shared=name == place.shared)
        if fd is None:
            for other in taken:
                os.close(other)
            return []
        taken.append(fd)
    return taken


def _try_lock(path: Path, shared: bool = False) -> int | None:
    """Lock the file and return its descriptor, None when another process holds it. Closing it is what unlocks."""
    fd = _open_lock_file(path)
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return None
        raise UserError(f"{path}: {error.strerror}; set REGIME_W_LEASE_DIR to a folder on a local disk") from None
    if _inode(path) != _inode(fd):
        os.close(fd)  # somebody removed the file in between: this lock would hold nobody off
        return None
    return fd


def _open_lock_file(path: Path) -> int:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    problem: OSError | None = None
    for _ in range(50):
        try:
            # Without O_CREAT first: the kernel refuses it for another user's file in a sticky folder.
            fd = os.open(path, flags)
        except FileNotFoundError:
            try:
                fd = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o644)
                os.fchmod(fd, 0o644)
            except FileExistsError:
                continue
            except OSError as error:
                problem = error
                time.sleep(0.02)
                continue
        except PermissionError as error:
            problem = error  # its maker hasn't made it readable for us yet
            time.sleep(0.02)
            continue
        except OSError as error:
            problem = error
            break
        if stat.S_ISREG(os.fstat(fd).st_mode):
            return fd
        os.close(fd)
        problem = OSError(errno.EINVAL, "not a plain file")
        break
    reason = problem.strerror if problem else "it comes and goes"
    raise UserError(f"{path}: {reason}; remove it, or set REGIME_W_LEASE_DIR to a folder that you can write to")


def _take(held: ExitStack, waiting: _Waiting, places: list[_Place], n: int) -> list[int]:
    """Lock `n` of the places, as they become free, until `held` closes; returns their positions."""
    mine: list[int] = []
    while True:
        for index, place in enumerate(places):
            if len(mine) == n:
                return mine
            taken = [] if index in mine else _try_place(waiting.folder, place)
            for fd in taken:
                held.callback(os.close, fd)
            if taken:
                mine.append(index)
        if len(mine) < n:
            waiting.pause()


def _inode(file: Path | int) -> tuple[int, int] | None:
    try:
        seen = os.stat(file)
    except OSError:
        return None
    return seen.st_dev, seen.st_ino


def _flock_holders() -> dict[tuple[int, int] | None, int]:
    """Process ids by device and inode of the files that they hold a `flock` on, as Linux tells; else nothing."""
    holders: dict[tuple[int, int] | None, int] = {}
    with suppress(OSError):
        for line in Path("/proc/locks").read_text().splitlines():
            found = re.match(r"\d+: FLOCK +\S+ +(?:READ|WRITE) (\d+) (\w+):(\w+):(\d+) ", line)
            if found:
                major, minor = int(found[2], 16), int(found[3], 16)
                holders[(os.makedev(major, minor), int(found[4]))] = int(found[1])
    return holders
