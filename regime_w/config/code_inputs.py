"""A module's code as a job's input: itself and every module of ours that it imports, also inside functions.

hash_of("scripts.generate", root) -> "9f2c..."; it changes with the text of any of these files, not with their times
modules_of("scripts.generate", root) -> ["regime_w/sampling/collect.py", "scripts/generate.py", ...]
"""

import ast
from functools import cache
from pathlib import Path

from regime_w.runtime.records import fingerprint, sha256_file

PACKAGES = ("scripts", "regime_w")
DIGITS = 16


@cache
def hash_of(module: str, root: Path, files: tuple[str, ...] = (), skip: tuple[str, ...] = ()) -> str:
    """Hash (hex) of the files of `modules_of` and of those that match the patterns `files`, by their place below `root`."""
    paths = [
        *modules_of(module, root, skip),
        *(str(path.relative_to(root)) for each in files for path in root.glob(each)),
    ]
    return fingerprint({path: _sha256(root / path) for path in paths})[:DIGITS]


@cache
def modules_of(module: str, root: Path, skip: tuple[str, ...] = ()) -> list[str]:
    """Paths relative to `root`, sorted; imports are read from the syntax tree, nothing is imported.

    Modules in `skip` are left out, and what only they import.
    """
    found: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = _path(name, root)
        if path is None or str(path) in found or name in skip:
            continue
        found.add(str(path))
        waiting += _imports(root / path)
    return sorted(found)


_sha256 = cache(sha256_file)


def _path(module: str, root: Path) -> Path | None:
    stem = Path(*module.split("."))
    for candidate in (stem.with_suffix(".py"), stem / "__init__.py"):
        if (root / candidate).is_file():
            return candidate
    return None


@cache
def _imports(path: Path) -> list[str]:
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            # `from scripts import training` names a module, `from regime_w.runtime.records import read_json` a function.
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return [name for name in names if name.split(".")[0] in PACKAGES]
