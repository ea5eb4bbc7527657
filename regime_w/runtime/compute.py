"""What every stage that computes needs to know of its job: its CPU threads, and how to say that memory ran out."""

import os
from pathlib import Path

from regime_w.runtime.errors import UserError
from regime_w.runtime.records import private_folder


def threads() -> int:
    """CPU threads of this job: what Snakemake gave it (OMP_NUM_THREADS), else all."""
    return int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)


def compile_caches() -> dict[str, str]:
    """Environment that keeps what vLLM and torch compile in .cache, for the jobs that follow; they write there atomically.

    Nobody else may put code there: torch's own place would be a folder of a known name in /tmp.
    """
    cache = private_folder(Path(".cache")).resolve()
    return {
        "VLLM_CACHE_ROOT": str(cache / "vllm"),
        "TORCHINDUCTOR_CACHE_DIR": str(cache / "torchinductor"),
        # torch would put it below TORCHINDUCTOR_CACHE_DIR, which vLLM 0.23 moves while it compiles.
        "TRITON_CACHE_DIR": str(cache / "triton"),
    }


def out_of_memory(error: BaseException, setting: str) -> UserError:
    """One line that names the setting to lower."""
    return UserError(f"out of GPU memory ({str(error).splitlines()[0]:.120}); lower {setting} in the config")
