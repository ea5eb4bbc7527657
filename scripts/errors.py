"""User errors: one line that says what is wrong and what to do, exit status 2, no traceback."""

import errno
import sys
from collections.abc import Callable


class UserError(Exception):
    """A mistake in the input or the machine that the user can mend; its text is the whole message.

    One line that a terminal can show as it is, whatever names and values from outside stand in it.
    """

    def __init__(self, message: str) -> None:
        line = " ".join(message.split())
        super().__init__("".join(letter if letter.isprintable() else "\ufffd" for letter in line))


def run(main: Callable[[], None]) -> None:
    """Call a rule's `main` and turn user errors, a full disk and Ctrl-C into one line and a status."""
    try:
        main()
    except UserError as error:
        sys.exit(_fail(error))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            raise
        sys.exit(
            _fail(
                UserError(
                    f"{error.filename or 'output'}: {error.strerror}; free space or choose a writable folder, then run again"
                )
            )
        )
    except KeyboardInterrupt:
        print("interrupted; finished work is kept, run the same command again to go on", file=sys.stderr)
        sys.exit(130)


def _fail(error: UserError) -> int:
    print(f"error: {error}", file=sys.stderr, flush=True)
    return 2
