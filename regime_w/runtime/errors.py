"""User errors: one line that says what is wrong and what to do, exit status 2, no traceback."""

import errno
import os
import re
import sys
from collections.abc import Callable
from types import TracebackType

from regime_w.runtime import log

NO_PLACE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)
FREE_SPACE = "free space or choose a writable folder, then run again; what is finished is kept"
# Libraries in Rust (safetensors, tokenizers) and torch.save tell of it in words alone.
NO_PLACE_WORDS = re.compile(
    rf"\(os error ({'|'.join(map(str, NO_PLACE))})\)|unexpected pos \d+ vs \d+|PytorchStreamWriter failed writing"
)
# torch and the loader of shared objects tell of too little memory in words.
NO_MEMORY_WORDS = re.compile(r"[Cc]annot allocate memory|not enough memory|failed to map segment|bad_alloc")
MORE_MEMORY = "give the job more, raise `ulimit -v`, or take smaller batches; what is finished is kept"
LONGEST = 2_000  # characters of a message


class UserError(Exception):
    """A mistake in the input or the machine that the user can mend; its text is the whole message.

    One line that a terminal can show as it is, whatever names and values from outside stand in it. Several mistakes, where
    they are found at once, are a line each in `lines`.
    """

    def __init__(self, *messages: str) -> None:
        self.lines = tuple(map(_line, messages))
        super().__init__(_line("; ".join(messages)))


def _line(message: str) -> str:
    line = " ".join(message.split())
    if len(line) > LONGEST:
        line = f"{line[: LONGEST // 2]} ... {line[-LONGEST // 2 :]}"
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in line)


def run(main: Callable[[], None]) -> None:
    """Call a rule's `main` and turn user errors, limits of the machine and Ctrl-C into one line and a status."""
    log.setup()
    try:
        main()
    except UserError as error:
        sys.exit(_fail(error))
    except KeyboardInterrupt:
        say("interrupted; finished work is kept, run the same command again to go on")
        sys.exit(130)
    except Exception as error:
        if not (limit := _limit(error)):
            raise
        sys.exit(_fail(UserError(limit)))


def tell_limits_of_imports() -> None:
    """From here on, what ends this process outside `run`, such as an import without memory, is told as `run` tells it."""

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if limit := _limit(error):
            _fail(UserError(limit))
        else:
            sys.__excepthook__(kind, error, trace)

    sys.excepthook = hook


def _limit(error: BaseException) -> str | None:
    """What the machine refused, why, and what to do; None where the error is of another kind."""
    number = error.errno if isinstance(error, OSError) else None
    file = getattr(error, "filename", None) or "the output"
    if number in NO_PLACE:
        return f"{file}: {os.strerror(number)}; {FREE_SPACE}"
    if number == errno.EFBIG:
        return f"{file}: larger than a file may be here; raise `ulimit -f`, then run again"
    if NO_PLACE_WORDS.search(str(error)):
        return f"the output could not be written ({error}); {FREE_SPACE}"
    if isinstance(error, MemoryError) or number == errno.ENOMEM or NO_MEMORY_WORDS.search(str(error)):
        return f"out of memory ({str(error) or type(error).__name__}); {MORE_MEMORY}"
    return None


def _fail(error: UserError) -> int:
    for line in error.lines:
        say(f"error: {line}")
    return 2


def say(line: str) -> None:
    """On standard error; in a job with its name, as all that it says."""
    print(log.stamped(line) if log.in_job() else line, file=sys.stderr, flush=True)
