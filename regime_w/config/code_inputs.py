"""Which files a module's code is in: itself and every module of ours that it imports, also inside functions.

modules_of("scripts.generate", root) -> ["regime_w/sampling/collect.py", "scripts/generate.py", ...]
"""

import ast
from functools import cache
from pathlib import Path

PACKAGES = ("scripts", "regime_w")


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
