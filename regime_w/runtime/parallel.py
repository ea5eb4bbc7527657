"""Work spread over processes, with results in the order of the tasks: the same bytes for any number of processes.

for lines in in_order(score, tasks, threads(), params):    # score(params, task)
    file.write(lines)
"""

import logging
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, TypeVar

from regime_w.runtime.compute import threads
from regime_w.runtime.errors import UserError
from regime_w.runtime.processes import die_with_parent
from regime_w.runtime.progress import Progress
from regime_w.runtime.records import ranges
from regime_w.runtime.seals import Seal, check, read_seal

log = logging.getLogger(__name__)

Shared = TypeVar("Shared")
Task = TypeVar("Task")
Result = TypeVar("Result")

AHEAD = 4  # tasks a process that are handed out before the first result is taken; bounds the memory
MB = 10**6

_shared: Any = None  # what the tasks of this process have in common


def in_order(
    function: Callable[[Shared, Task], Result], tasks: Iterable[Task], processes: int, shared: Shared
) -> Iterator[Result]:
    """function(shared, task) for each task, in their order. `shared` is handed to each process once.

    `function` must be a module's own and depend on nothing but its arguments; with one process everything happens in this one.
    An error in a process is raised here. UserError where a process is killed.
    """
    pool = _pool(processes, shared)
    if pool is None:
        yield from (function(shared, task) for task in tasks)
        return
    waiting: deque[Future[Result]] = deque()
    with pool:
        try:
            for task in tasks:
                waiting.append(pool.submit(_call, function, task))
                if len(waiting) >= AHEAD * processes:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool:
            raise UserError(
                f"one of {processes} processes was killed, most likely for want of memory; "
                "give the stage more memory or fewer threads"
            ) from None
        finally:
            for future in waiting:
                future.cancel()


def _pool(processes: int, shared: Any) -> ProcessPoolExecutor | None:
    """None where this process is to do the work."""
    if processes <= 1:
        return None
    try:
        return ProcessPoolExecutor(processes, initializer=_begin, initargs=(shared,))
    except OSError as error:  # no semaphores: /dev/shm is full, read-only or missing
        log.info(f"One process instead of {processes}: the machine's shared memory, /dev/shm, gives none ({error})")
        return None


def over_rollouts(
    function: Callable[[tuple[Path, Shared], tuple[int, int]], Result], path: Path, label: str, shared: Shared
) -> Iterator[Result]:
    """function((path, shared), part) for each of the file's `ranges`, in their order, with progress in MB.

    The file is held against its seal meanwhile. UserError, at the end at the latest, where it is not what was sealed.
    """
    read_seal(path)
    parts = list(ranges(path))
    progress = Progress(max(1, path.stat().st_size // MB), label, unit="MB")
    sealed: Future[Seal] | None = None
    with ThreadPoolExecutor(1) as beside:
        try:
            for (start, end), result in zip(parts, in_order(function, parts, threads(), (path, shared)), strict=True):
                sealed = sealed or beside.submit(check, path)  # now that the processes are there: forks want no threads
                yield result
                progress.update((end - start) // MB)
        except Exception:
            check(path)  # what fails in a damaged file is told as its damage
            raise
        (sealed or beside.submit(check, path)).result()
    progress.close()


def _begin(shared: Any) -> None:
    # Ctrl-C reaches all processes of a terminal: the first one tells the user and ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent()
    global _shared
    _shared = shared


def _call(function: Callable[[Any, Task], Result], task: Task) -> Result:
    return function(_shared, task)
