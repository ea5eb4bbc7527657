"""The house: rooms import downwards only, stages import no stage, tests import no test."""

import ast
from pathlib import Path

import pytest
from helpers import ROOT

# From the top floor down, as regime_w/__init__.py says.
ROOMS = ["report", "training", "sampling", "models", "questions", "tasks", "config", "method", "runtime"]
LIBRARY = sorted((ROOT / "regime_w").rglob("*.py"))
STAGES = sorted((ROOT / "scripts").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))


def imports(path: Path) -> set[str]:
    """Dotted names of the modules that a file imports, also inside functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def test_every_room_has_its_floor() -> None:
    assert sorted(path.name for path in (ROOT / "regime_w").iterdir() if (path / "__init__.py").is_file()) == sorted(
        ROOMS
    )


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: str(path.relative_to(ROOT)))
def test_rooms_import_downwards_only(path: Path) -> None:
    names = imports(path)
    assert not [name for name in names if name.split(".")[0] == "scripts"]
    if path.parent == ROOT / "regime_w":
        return
    own = ROOMS.index(path.relative_to(ROOT / "regime_w").parts[0])
    used = {name.split(".")[1] for name in names if name.startswith("regime_w.")}
    assert not {room for room in used if ROOMS.index(room) < own}


@pytest.mark.parametrize("path", STAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_stages_import_no_stage(path: Path) -> None:
    assert not [name for name in imports(path) if name.split(".")[0] == "scripts"]


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_tests_import_no_tests(path: Path) -> None:
    assert not [name for name in imports(path) if name.split(".")[0].startswith("test_")]
