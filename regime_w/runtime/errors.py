"""User errors: one line that says what is wrong and what to do, exit status 2, no traceback."""

import errno
import re
import sys
from collections.abc import Callable

from regime_w.runtime import log

NO_PLACE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)
# Libraries in Rust (safetensors, tokenizers) and torch.save tell of it in words alone.
NO_PLACE_WORDS = re.compile(
    rf"\(os error ({'|'.join(map(str, NO_PLACE))})\)|unexpected pos \d+ vs \d+|PytorchStreamWriter failed writing"
)
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
    """Call a rule's `main` and turn user errors, a full disk and Ctrl-C into one line and a status."""
    log.setup()
    try:
        main()
    except UserError as error:
        sys.exit(_fail(error))
    except KeyboardInterrupt:
        say("interrupted; finished work is kept, run the same command again to go on")
        sys.exit(130)
    except Exception as error:
        if not (what := _no_place(error)):
            raise
        advice = "free space or choose a writable folder, then run again; what is finished is kept"
        sys.exit(_fail(UserError(f"{what}; {advice}")))


def _no_place(error: Exception) -> str | None:
    """What could not be written and why, where the disk is full or closed to us."""
    if isinstance(error, OSError) and error.errno in NO_PLACE:
        return f"{error.filename or 'the output'}: {error.strerror}"
    return f"the output could not be written ({error})" if NO_PLACE_WORDS.search(str(error)) else None


def _fail(error: UserError) -> int:
    for line in error.lines:
        say(f"error: {line}")
    return 2


def say(line: str) -> None:
    """On standard error; in a job with its name, as all that it says."""
    print(log.stamped(line) if log.in_job() else line, file=sys.stderr, flush=True)
