"""The undisturbed run that every fault is held against."""

from pathlib import Path

import pytest
import tiny
import toy
from helpers import snakemake


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run; copy it before changing anything."""
    folder = toy.new_run(tmp_path_factory.mktemp("whole") / "run")
    done = snakemake(folder, *tiny.TARGET)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder


@pytest.fixture(scope="session")
def jobs(whole: Path) -> list[tiny.Job]:
    return tiny.jobs(whole)
