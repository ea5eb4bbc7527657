"""Work spread over processes, with results in the order of the tasks: the same bytes for any number of processes.

for lines in in_order(score, ranges, threads()):
    file.write(lines)
"""

import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from scripts.errors import UserError
from scripts.processes import die_with_parent

Task = TypeVar("Task")
Result = TypeVar("Result")

AHEAD = 4  # tasks a process that are handed out before the first result is taken; bounds the memory


def in_order(
    function: Callable[[Task], Result],
    tasks: Iterable[Task],
    processes: int,
    initializer: Callable[..., None] | None = None,
    initargs: tuple[Any, ...] = (),
) -> Iterator[Result]:
    """function(task) for each task, in their order. `function` must be a module's own and depend on nothing but its task
    and what `initializer(*initargs)` set up in its process; with one process everything happens in this one.

    An error in a process is raised here. UserError where a process is killed.
    """
    if processes <= 1:
        if initializer:
            initializer(*initargs)
        yield from map(function, tasks)
        return
    waiting: deque[Future[Result]] = deque()
    with ProcessPoolExecutor(processes, initializer=_begin, initargs=(initializer, initargs)) as pool:
        try:
            for task in tasks:
                waiting.append(pool.submit(function, task))
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


def _begin(initializer: Callable[..., None] | None, initargs: tuple[Any, ...]) -> None:
    # Ctrl-C reaches all processes of a terminal: the first one tells the user and ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent()
    if initializer:
        initializer(*initargs)
