"""Folders with a manifest: which files, with size and SHA-256, and what they were made from.

with new_artefact("checkpoints/demo/base") as folder:
    write_manifest(folder, {"source": "hub"})
folder, manifest = load_manifest("checkpoints/demo/base")

Beside such a folder stands its seal, NAME.sha256: the SHA-256 of its manifest, as `sha256sum -c` reads it. By it Snakemake
tells whether a folder's content changed, since it knows a folder by its time alone.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from regime_w.runtime.errors import UserError
from regime_w.runtime.records import fingerprint, new_folder, read_json, sha256_file, umask, write_json, write_text

MANIFEST = "manifest.json"
TIMESTAMP = ".snakemake_timestamp"  # Snakemake's own, in every folder that a rule makes
REBUILD = "remove the folder and run again to rebuild it"


@contextmanager
def new_artefact(path: str | Path) -> Iterator[Path]:
    """As `new_folder`; the new folder must get a manifest, and its seal is written when it is in place."""
    path = Path(path)
    with new_folder(path) as folder:
        yield folder
        for file in folder.rglob("*.safetensors"):
            file.chmod(0o666 & ~umask())  # safetensors closes its files to all others
        digest = sha256_file(folder / MANIFEST)
        seal_of(path).unlink(missing_ok=True)  # no kill from here on leaves it beside another's content
    write_text(seal_of(path), f"{digest}  {path.name}/{MANIFEST}\n")


def seal_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.sha256")


def list_files(folder: Path, known: Mapping[str, str] = MappingProxyType({})) -> dict[str, dict[str, Any]]:
    """Size and SHA-256 of each file of a folder but its manifest; `known`: SHA-256 by name, of files just written."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name not in (MANIFEST, TIMESTAMP))
    with ThreadPoolExecutor() as pool:
        hashes = pool.map(lambda file: known.get(file.name) or sha256_file(file), files)
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


def read_manifest(folder: Path) -> dict[str, Any]:
    """A folder's manifest; UserError where it lists no files or is not the one that the folder's seal was made for."""
    path, seal = folder / MANIFEST, seal_of(folder)
    manifest = read_json(path)
    if not isinstance(manifest, dict) or not manifest.get("files"):
        raise UserError(f"{path}: lists no files; remove the folder and rerun")
    if seal.is_file() and seal.read_text(errors="replace").split()[:1] != [sha256_file(path)]:
        raise UserError(f"{path}: is not the manifest that {seal} was written for; {REBUILD}")
    return manifest


def listed(folder: Path, name: str) -> Path:
    """A small file of a folder, held against its manifest; UserError where it changed or is not listed."""
    path = folder / name
    entry = read_manifest(folder)["files"].get(name)
    if not entry or not path.is_file():
        raise UserError(f"{path}: is missing, or {folder / MANIFEST} does not list it; {REBUILD}")
    if sha256_file(path) != entry["sha256"]:
        raise UserError(f"{path}: its bytes changed after {folder / MANIFEST} was written; {REBUILD}")
    return path


class HashedFolder:
    """A folder with a manifest: file names and sizes are checked at once, SHA-256 in the background until `verify`.

    Hashing 14 GB takes as long as importing torch, so it runs beside it. UserError where a listed file is missing or was
    changed, or where the manifest is not the one that the folder's seal was made for.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        path = self.path = self.folder / MANIFEST
        self.manifest = read_manifest(self.folder)
        files = self.manifest["files"]
        self.fingerprint = self.manifest["fingerprint"]
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

    @contextmanager
    def suspected(self) -> Iterator[None]:
        """Whatever fails inside is told as changed bytes where bytes have changed: damaged files raise errors of all kinds."""
        try:
            yield
        except Exception:
            self.verify()
            raise


def load_manifest(folder: str | Path) -> tuple[Path, dict[str, Any]]:
    """Return the folder and the content of its manifest, all verified; errors as in HashedFolder."""
    found = HashedFolder(folder)
    found.verify()
    return found.folder, found.manifest
