"""Fixtures that several test files use."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from helpers import save_random_model

from regime_w.runtime import log

log.setup()  # what stages say that are called in this process, too


@pytest.fixture(scope="session")
def random_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random Llama whose tokenizer begins texts with BOS."""
    return save_random_model(tmp_path_factory.mktemp("model") / "llama")
