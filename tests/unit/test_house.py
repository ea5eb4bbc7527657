"""The house: rooms import downwards only, a rule has a module of its name, stages import no stage, tests import no test."""

import ast
import re
from pathlib import Path

import pytest
from helpers import ROOT

# From the top floor down, as regime_w/__init__.py says.
ROOMS = ["report", "training", "sampling", "models", "questions", "tasks", "config", "method", "runtime"]
LIBRARY = sorted((ROOT / "regime_w").rglob("*.py"))
STAGES = sorted((ROOT / "scripts").rglob("*.py"))
TOOLS = sorted((ROOT / "tools").rglob("*.py"))
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
    assert not [name for name in names if name.split(".")[0] in ("scripts", "tools")]
    if path.parent == ROOT / "regime_w":
        return
    own = ROOMS.index(path.relative_to(ROOT / "regime_w").parts[0])
    used = {name.split(".")[1] for name in names if name.startswith("regime_w.")}
    assert not {room for room in used if ROOMS.index(room) < own}


@pytest.mark.parametrize("path", [*STAGES, *TOOLS], ids=lambda path: str(path.relative_to(ROOT)))
def test_stages_and_tools_import_the_library_alone(path: Path) -> None:
    assert not [name for name in imports(path) if name.split(".")[0] in ("scripts", "tools", "tests")]


def test_what_is_said_goes_through_logging() -> None:
    """So that every line has the time and the job's name; commands that print what they are asked for stand apart."""
    commands = {"config/show.py", "config/reference.py", "config/schema.py", "runtime/log.py", "runtime/errors.py"}
    for path in [*LIBRARY, *STAGES]:
        if path not in [ROOT / "regime_w" / name for name in commands]:
            calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
            assert not [call for call in calls if isinstance(call, ast.Name) and call.id == "print"], path


def test_every_rule_has_a_module_of_its_name_and_every_module_of_scripts_a_rule() -> None:
    """Rules made of another with `use rule` have the other's."""
    texts = "\n".join(path.read_text() for path in sorted((ROOT / "rules").glob("*.smk")))
    started = dict(
        re.findall(
            r'^(?:rule|checkpoint) (\w+):\n(?:(?:    .*)?\n)*?    shell:\n        stage\(\n            "([\w.]+)",\n',
            texts,
            re.MULTILINE,
        )
    )
    assert set(started) == set(re.findall(r"^(?:rule|checkpoint) (\w+):", texts, re.MULTILINE))
    assert all(module.split(".")[-1] == rule for rule, module in started.items())
    modules = {str(path.relative_to(ROOT / "scripts").with_suffix("")).replace("/", ".") for path in STAGES}
    assert set(started.values()) == {name for name in modules if not name.endswith("__init__")}


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_tests_import_no_tests(path: Path) -> None:
    assert not [name for name in imports(path) if name.split(".")[0].startswith("test_")]
