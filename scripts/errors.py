"""User errors: one line that says what is wrong and what to do, exit status 2, no traceback."""

import errno
import re
import sys
from collections.abc import Callable

NO_PLACE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)
# Libraries in Rust (safetensors, tokenizers) and torch.save tell of it in words alone.
NO_PLACE_WORDS = re.compile(
    rf"\(os error ({'|'.join(map(str, NO_PLACE))})\)|unexpected pos \d+ vs \d+|PytorchStreamWriter failed writing"
)


class UserError(Exception):
    """A mistake in the input or the machine that the user can mend; its text is the whole message."""


def run(main: Callable[[], None]) -> None:
    """Call a rule's `main` and turn user errors, a full disk and Ctrl-C into one line and a status."""
    try:
        main()
    except UserError as error:
        sys.exit(_fail(str(error)))
    except KeyboardInterrupt:
        print("interrupted; finished work is kept, run the same command again to go on", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        if not (what := _no_place(error)):
            raise
        sys.exit(_fail(f"{what}; free space or choose a writable folder, then run again; what is finished is kept"))


def _no_place(error: Exception) -> str | None:
    """What could not be written and why, where the disk is full or closed to us."""
    if isinstance(error, OSError) and error.errno in NO_PLACE:
        return f"{error.filename or 'the output'}: {error.strerror}"
    return f"the output could not be written ({error})" if NO_PLACE_WORDS.search(str(error)) else None


def _fail(message: str) -> int:
    print("error: " + " ".join(message.split()), file=sys.stderr, flush=True)
    return 2
