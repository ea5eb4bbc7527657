"""Where the numbers come from: code, versions, models, inputs and config."""

import importlib.metadata
import platform
import subprocess
from pathlib import Path
from typing import Any

from regime_w.runtime.records import sha256_file

PACKAGES = (
    "torch", "transformers", "tokenizers", "trl", "peft", "accelerate", "vllm", "datasets", "safetensors", "snakemake",
    "math-verify", "rapidfuzz", "numpy", "scipy", "pydantic", "matplotlib", "jinja2",
)  # fmt: skip


def provenance(
    inputs: dict[str, Path], manifests: dict[str, dict[str, Any]], config: dict[str, Any] | None
) -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": versions(),
        "git": git(Path(__file__).parent),
        "models": {name: _model(manifest) for name, manifest in manifests.items()},
        "inputs": [
            {"name": name, "path": str(path), "bytes": path.stat().st_size, "sha256": sha256_file(path)}
            for name, path in inputs.items()
        ],
        "config": config,
    }


def versions() -> dict[str, str]:
    """Installed versions; a package that is not here is left out."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def git(folder: Path) -> dict[str, Any] | None:
    """Commit of the code and whether tracked files were changed since; None outside a repository."""
    try:
        commit, status = (
            subprocess.run(
                ["git", "-C", folder, *command], capture_output=True, text=True, check=True, timeout=30
            ).stdout
            for command in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit.strip(), "modified": bool(status.strip())}


def _model(manifest: dict[str, Any]) -> dict[str, Any]:
    files = manifest.get("files") or {}
    return {
        "fingerprint": manifest.get("fingerprint"),
        "files": len(files),
        "code": sorted(name for name in files if name.endswith(".py")),
        "bytes": sum(entry.get("bytes", 0) for entry in files.values()),
        "made_from": manifest.get("made_from"),
    }
