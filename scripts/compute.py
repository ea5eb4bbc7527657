"""What every stage that computes needs to know of its job: its CPU threads, and how to say that memory ran out."""

import os

from scripts.errors import UserError


def threads() -> int:
    """CPU threads of this job: what Snakemake gave it (OMP_NUM_THREADS), else all."""
    return int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)


def out_of_memory(error: BaseException, setting: str) -> UserError:
    """One line that names the setting to lower."""
    return UserError(f"out of GPU memory ({str(error).splitlines()[0]:.120}); lower {setting} in the config")
