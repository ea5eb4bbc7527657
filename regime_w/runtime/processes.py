"""What the kernel is asked about our processes (Linux; elsewhere nothing happens)."""

import ctypes
import signal
import sys

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


def die_with_parent(signum: int = signal.SIGKILL) -> None:
    """Make the kernel send this process a signal when the thread that started it ends."""
    prctl(PR_SET_PDEATHSIG, signum)


def adopt_orphans() -> None:
    """Become the parent of processes below this one whose own parent ends."""
    prctl(PR_SET_CHILD_SUBREAPER, 1)


def prctl(option: int, value: int) -> None:
    if _LIBC is not None:
        _LIBC.prctl(option, value, 0, 0, 0)


# Loaded before any fork.
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
