"""User errors: one line that says what is wrong and what to do, exit status 2, no traceback."""

import errno
import sys
from collections.abc import Callable


class UserError(Exception):
    """A mistake in the input or the machine that the user can mend; its text is the whole message."""


def run(main: Callable[[], None]) -> None:
    """Call a rule's `main` and turn user errors, a full disk and Ctrl-C into one line and a status."""
    try:
        main()
    except UserError as error:
        sys.exit(_fail(str(error)))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            raise
        sys.exit(
            _fail(
                f"{error.filename or 'output'}: {error.strerror}; free space or choose a writable folder, then run again"
            )
        )
    except KeyboardInterrupt:
        print("interrupted; finished work is kept, run the same command again to go on", file=sys.stderr)
        sys.exit(130)


def _fail(message: str) -> int:
    print("error: " + " ".join(message.split()), file=sys.stderr, flush=True)
    return 2
