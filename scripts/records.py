"""Files that appear complete or not at all: JSONL records, JSON, model folders with a manifest.

rows = read_jsonl("data/demo/train.jsonl", required=("id", "question"))
write_jsonl("out.jsonl", rows)
with new_folder("checkpoints/demo/base") as folder: ...
write_manifest(folder, {"source": "hub"})
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scripts.errors import UserError

MANIFEST = "manifest.json"
REBUILD = "remove the folder's manifest.json and run again to rebuild it"


def fingerprint(obj: Any) -> str:
    """SHA-256 (hex) of an object's canonical JSON."""
    return hashlib.sha256(json.dumps(obj, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def sha256_file(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_jsonl(path: str | Path, required: Iterable[str] = ()) -> list[dict[str, Any]]:
    """Read a JSONL file of objects; UserError names file and line of a bad one or of a missing field."""
    return list(iter_jsonl(path, required))


def iter_jsonl(path: str | Path, required: Iterable[str] = ()) -> Iterator[dict[str, Any]]:
    required = tuple(required)
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file; check the path in the config")
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        for number, line in enumerate(file, 1):
            if line.isspace():
                continue
            try:
                line.encode("utf-8")
                row = json.loads(line)
            except UnicodeEncodeError:
                raise UserError(f"{path}:{number}: not UTF-8; save the file as UTF-8") from None
            except (ValueError, RecursionError) as error:
                raise UserError(f"{path}:{number}: not JSON ({error}); mend or remove the line") from None
            if not isinstance(row, dict):
                raise UserError(f"{path}:{number}: a JSON object was expected, found {type(row).__name__}")
            missing = [name for name in required if name not in row]
            if missing:
                raise UserError(f"{path}:{number}: field {missing[0]!r} is missing; found {sorted(row)}")
            yield row


def read_json(path: str | Path) -> Any:
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; rerun the rule that makes it") from None
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error}); remove it and rerun the rule that makes it") from None


def write_text(path: str | Path, text: str) -> None:
    """Write a file through a temporary one beside it, fsync and rename."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        # Lone surrogates, which JSON can carry and UTF-8 cannot, become question marks.
        with os.fdopen(handle, "w", encoding="utf-8", errors="replace") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_json(path: str | Path, obj: Any) -> None:
    write_text(path, json.dumps(obj, indent=2, ensure_ascii=False) + "\n")


def write_jsonl(path: str | Path, rows: Iterable[dict[str, Any]]) -> None:
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


@contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """Yield `PATH.partial`, empty; on success it replaces PATH by rename, on failure it is removed."""
    path = Path(path)
    partial = path.with_name(path.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        shutil.rmtree(path, ignore_errors=True)
        os.replace(partial, path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def list_files(folder: Path) -> dict[str, dict[str, Any]]:
    """Size and SHA-256 of each file of a folder but its manifest."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != MANIFEST)
    with ThreadPoolExecutor() as pool:
        hashes = pool.map(sha256_file, files)
        return {
            str(p.relative_to(folder)): {"bytes": p.stat().st_size, "sha256": h}
            for p, h in zip(files, hashes, strict=True)
        }


def write_manifest(
    folder: Path, made_from: dict[str, Any], files: dict[str, dict[str, Any]] | None = None
) -> dict[str, Any]:
    """Write the folder's manifest.json: `files` (default: list_files), and from what it was made."""
    manifest: dict[str, Any] = {"files": files or list_files(folder), "made_from": made_from}
    manifest["fingerprint"] = fingerprint(manifest["files"])
    write_json(folder / MANIFEST, manifest)
    return manifest


class HashedFolder:
    """A folder with a manifest: file names and sizes are checked at once, SHA-256 in the background until `verify`.

    Hashing 14 GB takes as long as importing torch, so it runs beside it. UserError where a listed file is missing or was
    changed.
    """

    def __init__(self, manifest_path: str | Path) -> None:
        path = self.path = Path(manifest_path)
        self.manifest = read_json(path)
        files = self.manifest.get("files") if isinstance(self.manifest, dict) else None
        if not files:
            raise UserError(f"{path}: lists no files; remove the folder and rerun")
        self.folder, self.fingerprint = path.parent, self.manifest["fingerprint"]
        for name, entry in files.items():
            file = self.folder / name
            if not file.is_file():
                raise UserError(f"{file}: listed in {path} but missing; {REBUILD}")
            if file.stat().st_size != entry["bytes"]:
                raise UserError(f"{file}: {file.stat().st_size} bytes, {entry['bytes']} in {path}; {REBUILD}")
        pool = ThreadPoolExecutor()
        self._hashes = {name: pool.submit(sha256_file, self.folder / name) for name in files}
        pool.shutdown(wait=False)

    def verify(self) -> None:
        """Wait for the hashes; nothing that was made from the folder may be kept before this returns."""
        for name, entry in self.manifest["files"].items():
            if self._hashes[name].result() != entry["sha256"]:
                raise UserError(f"{self.folder / name}: its bytes changed after {self.path} was written; {REBUILD}")


def load_manifest(path: str | Path) -> tuple[Path, dict[str, Any]]:
    """Return the folder of a manifest and its content, all verified; errors as in HashedFolder."""
    found = HashedFolder(path)
    found.verify()
    return found.folder, found.manifest


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
