"""What every fuzz test uses: settings that repeat, and a limit on the CPU time of one item."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hypothesis import HealthCheck, Phase, settings

LIMIT = 1.0  # seconds of CPU an item, so that a busy machine makes no difference
GIVE_UP = 10.0


def repeatable(examples: int) -> settings:
    """The same examples in every run, on every machine; nothing is kept between runs."""
    return settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        report_multiple_bugs=False,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


@contextmanager
def quick(item: Any) -> Iterator[None]:
    """Fail with the item where the body takes more than LIMIT; end it by a signal after GIVE_UP."""

    def stop(*_: object) -> None:
        raise AssertionError(f"hangs on {item!r:.2000}")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, GIVE_UP)
    start = time.thread_time()
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    took = time.thread_time() - start
    assert took < LIMIT, f"{took:.1f} s for {item!r:.2000}"
