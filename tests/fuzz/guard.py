"""What every fuzz test uses: settings that repeat, and an end for an item that hangs."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import SearchStrategy

from regime_w.runtime.errors import UserError

T = TypeVar("T")

GIVE_UP = 60.0  # seconds of CPU for what takes milliseconds


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


def examples(strategy: SearchStrategy[T], count: int) -> list[T]:
    """`count` examples of a strategy, the same in every run."""
    made: list[T] = []

    @repeatable(count)
    @given(strategy)
    def collect(value: T) -> None:
        made.append(value)

    collect()
    return made[:count]


def attempt(call: Callable[[], T]) -> tuple[T | None, str]:
    """The call's result, or the message of its UserError, which must be one short line that a terminal can show."""
    try:
        return call(), ""
    except UserError as error:
        message = str(error)
    assert message
    assert message.isprintable(), message
    assert len(message) < 2_100, message
    return None, message


@contextmanager
def ends(item: Any) -> Iterator[None]:
    """Fail with the item where the body hangs, by a signal after GIVE_UP: else nobody would know which item it was."""

    def stop(*_: object) -> None:
        raise AssertionError(f"hangs on {item!r:.2000}")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, GIVE_UP)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
