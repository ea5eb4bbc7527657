"""Files and folders that appear complete or not at all: JSONL records, JSON.

rows = read_jsonl("data/demo/train.jsonl", required=("id", "question"))
write_json("out.json", {"questions": 12})
with new_folder("checkpoints/demo/base") as folder: ...
parser.add_argument("--params", type=from_argument)  # what as_argument(text, folder) made of it
"""

import errno
import fcntl
import hashlib
import json
import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from regime_w.runtime.errors import UserError

NAMELESS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # told of a descriptor, without a name
LONGEST_ARGUMENT = 32_000  # characters, with quotes


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
    return (row for _, row in scan_jsonl(path, required))


def scan_jsonl(
    path: str | Path, required: Iterable[str] = (), part: tuple[int, int] | None = None
) -> Iterator[tuple[tuple[int, int], dict[str, Any]]]:
    """Each record of a file, or of one of its `ranges`, with its place: (first byte, number of bytes)."""
    required = tuple(required)
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file; check the path in the config")
    for start, line in lines_of(path, part):
        if line.isspace():
            continue
        try:
            row = json.loads(line.decode("utf-8"))
            if b"\\u" in line:  # an escape may name half a character, which no stage could write again
                json.dumps(row, ensure_ascii=False).encode("utf-8")
        except UnicodeError:
            raise UserError(f"{_at(path, start)}: not UTF-8; save the file as UTF-8") from None
        except (ValueError, RecursionError) as error:
            raise UserError(f"{_at(path, start)}: not JSON ({error}); mend or remove the line") from None
        if not isinstance(row, dict):
            raise UserError(f"{_at(path, start)}: a JSON object was expected, found {type(row).__name__}")
        missing = [name for name in required if name not in row]
        if missing:
            raise UserError(f"{_at(path, start)}: field {missing[0]!r} is missing; found {sorted(row)}")
        yield (start, len(line)), row


def ranges(path: str | Path, size: int = 2_000_000) -> Iterator[tuple[int, int]]:
    """A file in parts of `size` bytes, (first byte, end): one part's lines are those that begin in it."""
    end = os.path.getsize(path)
    return ((start, min(start + size, end)) for start in range(0, end, size))


def lines_of(path: str | Path, part: tuple[int, int] | None = None) -> Iterator[tuple[int, bytes]]:
    """First byte and text of the lines that begin in a part of a file, or of all."""
    start, end = part or (0, os.path.getsize(path))
    with open(path, "rb") as file:
        if start:
            file.seek(start - 1)
            start += len(file.readline()) - 1  # the rest of a line that begins before, or the last byte of one
        while start < end and (line := file.readline()):
            yield start, line
            start += len(line)


def _at(path: str | Path, start: int) -> str:
    """File and number of the line that begins at a byte."""
    return f"{path}:{1 + sum(1 for _ in lines_of(path, (0, start)))}"


def read_json(path: str | Path) -> Any:
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; rerun the rule that makes it") from None
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error}); remove it and rerun the rule that makes it") from None


def as_argument(text: str, folder: Path) -> str:
    """A JSON text for a command line; where it is long, `@FILE`, a file in `folder` that is named by its content.

    Linux hands a program at most 128 KiB in one argument, and a shell command is one, with all its quotes.
    """
    if len(shlex.quote(text)) <= LONGEST_ARGUMENT:
        return text
    path = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"
    if not path.is_file():
        write_text(path, text)
    return f"@{path}"


def from_argument(text: str) -> Any:
    """The value that `as_argument` was given as JSON, for argparse's `type`."""
    if not text.startswith("@"):
        return json.loads(text)
    try:
        return json.loads(Path(text[1:]).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{text[1:]}: {error.strerror}; run snakemake again, which writes it") from None


@contextmanager
def new_file(path: str | Path) -> Iterator[BinaryIO]:
    """Yield a temporary file beside PATH; on success it is synced and renamed to PATH, on failure removed.

    What a killed writer left, gigabytes perhaps, goes when the next one begins.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{path.name}."
    for entry in [entry for entry in os.scandir(path.parent) if entry.name.startswith(prefix)]:
        _remove_if_abandoned(entry.path)
    handle, name = _locked_temporary(path.parent, prefix)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.chmod(name, 0o666 & ~umask())
            os.replace(name, path)
    except BaseException as error:
        Path(name).unlink(missing_ok=True)
        if isinstance(error, OSError) and not error.filename and error.errno in NAMELESS:
            error.filename = str(path)
        raise


def _locked_temporary(folder: Path, prefix: str) -> tuple[int, str]:
    """Descriptor and name of a new file, locked as long as it is open: the sign that its writer lives."""
    while True:
        handle, name = tempfile.mkstemp(dir=folder, prefix=prefix)
        with suppress(OSError):  # no locks on this file system
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(handle).st_nlink:
            return handle, name
        os.close(handle)  # another writer took it for abandoned before it was locked


def _remove_if_abandoned(name: str) -> None:
    with suppress(OSError), open(name, "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(name)


def write_text(path: str | Path, text: str) -> None:
    """Write a file through a temporary one beside it, fsync and rename."""
    with new_file(path) as file:
        file.write(text.encode("utf-8", "replace"))


def write_json(path: str | Path, obj: Any) -> None:
    write_text(path, json.dumps(obj, indent=2, ensure_ascii=False) + "\n")


def to_line(row: dict[str, Any]) -> bytes:
    """A record as a line of JSONL. Lone surrogates, which JSON can carry and UTF-8 cannot, become question marks."""
    return json.dumps(row, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def expand(paths: Iterable[Path]) -> list[Path]:
    """Paths in which `{0..999}` stands for each of the numbers, as the shell would read it.

    A command holds 128 KB, in which the names of thousands of files do not fit; and the shell is to expand nothing.
    """
    found = []
    for path in paths:
        match = re.fullmatch(r"(.*)\{0\.\.([0-9]{1,6})\}(.*)", str(path), re.DOTALL)
        found += [Path(f"{match[1]}{number}{match[3]}") for number in range(int(match[2]) + 1)] if match else [path]
    return found


def private_folder(path: Path) -> Path:
    """Make a folder that its user alone can enter: what is taken up from it again must not be swapped by others."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.stat().st_mode & 0o077:
        try:
            path.chmod(0o700)
        except PermissionError:
            raise UserError(
                f"{path}: is open to others and {_owner(path)}'s to close; remove it and run again"
            ) from None
    if path.stat().st_uid != os.getuid() and not os.access(path, os.W_OK | os.X_OK):
        raise UserError(
            f"{path}: is {_owner(path)}'s alone, as all that runs take up again; "
            "run in a clone of your own, or with --directory in a folder of your own"
        )
    return path


def _owner(path: Path) -> str:
    try:
        return path.owner()
    except KeyError:
        return f"user {path.stat().st_uid}"


@contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """Yield `PATH.partial`, empty; on success it replaces PATH by rename, on failure it is removed.

    A kill at any moment leaves PATH whole or absent: the old folder is moved aside before it is removed. Where PATH is a
    link to another disk, or was one (`remember_link`), all that happens there, and it is a link in the end.
    """
    link, path = Path(path), linked(Path(path))
    if link != path and not path.parent.is_dir():
        raise UserError(f"{link}: is kept at {path}, but {path.parent} is not there; make it, or remove {_mark(link)}")
    partial, old = (path.with_name(path.name + ending) for ending in (".partial", ".old"))
    for folder in (partial, old):
        shutil.rmtree(folder, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        with suppress(FileNotFoundError):
            os.replace(path, old)
        os.replace(partial, path)
        shutil.rmtree(old, ignore_errors=True)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    if link != path and not link.is_symlink():
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path)


def linked(path: Path) -> Path:
    """Where a folder really is to stand: at the end of a link, or of one that was remembered."""
    if path.is_symlink():
        return path.resolve()
    mark = _mark(path)
    return Path(mark.read_text(encoding="utf-8")) if mark.is_file() and not path.is_dir() else path


def remember_link(path: Path) -> None:
    """Note where a folder that is a link leads: Snakemake removes the link before a job makes the folder anew."""
    if path.is_symlink() and (path.is_dir() or not path.exists()):
        write_text(_mark(path), str(path.resolve()))
    elif path.is_dir():
        _mark(path).unlink(missing_ok=True)


def _mark(path: Path) -> Path:
    return path.with_name(f".{path.name}.link")


def umask() -> int:
    """What this process takes from the rights of new files."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
