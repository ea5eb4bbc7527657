"""The name of who runs this."""

import getpass
import os


def name_user() -> None:
    """Give a name to a user without one, as in containers: Snakemake and torch ask for it and would end with a KeyError.

    The processes that are started from here on inherit it.
    """
    try:
        getpass.getuser()
    except (KeyError, OSError):
        os.environ["LOGNAME"] = f"uid{os.getuid()}"
