"""Fixtures that several test files use, and which unit tests start a stage or the workflow: those are `e2e`."""

import ast
import sys
from functools import cache
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from helpers import save_random_model

from regime_w.runtime import log

log.setup()  # what stages say that are called in this process, too

STARTS = {"stage", "tool", "snakemake", "planned", "make_outputs"}  # of tests/helpers.py and tests/plans.py


@pytest.fixture(scope="session")
def random_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random Llama whose tokenizer begins texts with BOS."""
    return save_random_model(tmp_path_factory.mktemp("model") / "llama")


@cache
def uses(path: Path) -> dict[str, set[str]]:
    """Function of a test file -> the names that it uses, its fixtures among them."""
    functions = [node for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.FunctionDef)]
    return {
        function.name: {getattr(node, "id", getattr(node, "arg", None)) for node in ast.walk(function)} - {None}
        for function in functions
    }


def starts_a_process_of_ours(path: Path, name: str) -> bool:
    """Whether a test function does, itself or by functions and fixtures of its file."""
    seen: set[str] = set()
    left = {name}
    while left:
        seen |= left
        left = {used for each in left for used in uses(path).get(each, ())} - seen
    return bool(seen & STARTS)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """`make quick` leaves them out: each imports torch once more."""
    for item in items:
        if isinstance(item, pytest.Function) and starts_a_process_of_ours(item.path, item.originalname):
            item.add_marker(pytest.mark.e2e)
