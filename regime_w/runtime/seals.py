"""Seals: by them a file that a stage hands on is told whole from damaged, edited, foreign and stale.

with new_records("rollouts.jsonl", {"model": fingerprint, "questions": sha256}) as file: file.write(lines)
seal = check("rollouts.jsonl")  # one line for the user where it is not what was sealed
require_same(seal, "questions", "round1.jsonl", check("round1.jsonl").sha256)
write_record("preferences.json", counts); counts = read_record("preferences.json")

A JSONL file has its seal beside it, NAME.jsonl.seal, since a line of another kind would trouble whatever else reads it:

    {"file": "rollouts.jsonl", "sha256": "...", "bytes": 9120, "lines": 12, "made_from": {"model": "...", "questions": "..."},
     "adopted": null, "seal": "..."}

`made_from` names by their hashes a model (its manifest's fingerprint) and files (SHA-256) behind the records, those
before its own sources too. A JSON record is sealed in itself: `seal` is the fingerprint of all its other fields, in the
seals of JSONL files too. `adopted` is when a user vouched for the content (regime_w/runtime/adopt.py).
"""

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, NamedTuple

from regime_w.runtime.errors import UserError
from regime_w.runtime.records import fingerprint, new_file, read_json, sha256_file, to_line, write_json

log = logging.getLogger(__name__)

NOTHING: Mapping[str, str] = MappingProxyType({})
BLOCK = 1 << 20
TOGETHER = 256  # lines
SHOWN = 12  # characters of a hash in a message


class Seal(NamedTuple):
    """What is known of a whole JSONL file."""

    path: Path
    sha256: str
    bytes: int
    lines: int
    made_from: dict[str, str]
    adopted: str | None = None  # when, in ISO 8601


class Records:
    """A JSONL file that is being written: hashed and counted on the way."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._sha, self.bytes, self.lines = file, hashlib.sha256(), 0, 0

    def write(self, lines: bytes) -> None:
        self._file.write(lines)
        self._sha.update(lines)
        self.bytes += len(lines)
        self.lines += lines.count(b"\n")

    def writelines(self, lines: Iterable[bytes]) -> None:
        lines = iter(lines)
        while block := b"".join(islice(lines, TOGETHER)):
            self.write(block)

    def sealed(self, path: Path, made_from: Mapping[str, str]) -> Seal:
        return Seal(path, self._sha.hexdigest(), self.bytes, self.lines, dict(made_from))


@contextmanager
def new_records(path: str | Path, made_from: Mapping[str, str] = NOTHING) -> Iterator[Records]:
    """As `new_file`, for lines; the file's seal is written when it is in place."""
    path = Path(path)
    with new_file(path) as file:
        records = Records(file)
        yield records
        seal_of(path).unlink(missing_ok=True)  # no kill from here on leaves it beside another's content
    write_seal(records.sealed(path, made_from))


def write_jsonl(path: str | Path, rows: Iterable[dict[str, Any]], made_from: Mapping[str, str] = NOTHING) -> None:
    with new_records(path, made_from) as file:
        file.writelines(map(to_line, rows))


def seal_of(path: str | Path) -> Path:
    return Path(f"{path}.seal")


def write_seal(seal: Seal) -> None:
    content = {"file": seal.path.name} | {name: value for name, value in seal._asdict().items() if name != "path"}
    write_record(seal_of(seal.path), content)


def measure(path: Path, adopted: str | None = None) -> Seal:
    """The seal of a file as it is, made from nothing that is known."""
    sha, size, lines = hashlib.sha256(), 0, 0
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            sha.update(block)
            size += len(block)
            lines += block.count(b"\n")
    return Seal(path, sha.hexdigest(), size, lines, {}, adopted)


def read_seal(path: Path) -> Seal:
    """A file's seal, not held against the file yet; UserError where one of the two is missing, or the seal is none."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; run the rule that makes it")
    if not seal_of(path).is_file():
        raise UserError(f"{path}: its seal {seal_of(path)} is missing; {way_out(path)}")
    try:
        told = {"path": path} | {name: value for name, value in read_record(seal_of(path)).items() if name != "file"}
        return Seal(**told)
    except TypeError:
        raise UserError(f"{seal_of(path)}: is no seal of {path}; {way_out(path)}") from None


def check(path: str | Path) -> Seal:
    """The seal of a file that a stage wrote; UserError names both sides where the file is not what was sealed."""
    path = Path(path)
    seal = read_seal(path)
    if sha256_file(path) != seal.sha256:
        raise UserError(
            f"{path}: was changed after it was made: {shown(measure(path))}, its seal says {shown(seal)}; {way_out(path)}"
        )
    if seal.adopted:
        log.info(f"{path}: its content was adopted by hand, {seal.adopted}")
    return seal


def check_all(paths: Iterable[Path]) -> list[Seal]:
    """`check` of each, several at a time: hashing leaves the interpreter to others."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(check, paths))


def shown(seal: Seal) -> str:
    return f"{seal.lines} lines of {seal.bytes} bytes, sha256 {seal.sha256[:SHOWN]}"


def way_out(path: Path) -> str:
    return f"remove it and run again, or if it is what you want: python -m regime_w.runtime.adopt {path}"


def require_same(seal: Seal, what: str, path: Path, digest: str) -> None:
    """UserError where the records say that they were made from another `what` than PATH's, whose hash is `digest`."""
    if (other := seal.made_from.get(what, digest)) != digest:
        raise UserError(
            f"{seal.path}: was made from another {what} ({other[:SHOWN]}) than {path} ({digest[:SHOWN]}); "
            f"{way_out(seal.path)}"
        )


def common_source(seals: Iterable[Seal], what: str) -> dict[str, str]:
    """{what: hash} that records were made from, {} where none says; UserError where two say otherwise."""
    first: Seal | None = None
    for seal in seals:
        if what in seal.made_from:
            first = first or seal
            require_same(seal, what, first.path, first.made_from[what])
    return {what: first.made_from[what]} if first else {}


def write_record(path: str | Path, record: Mapping[str, Any]) -> None:
    """Write a JSON object that is sealed in itself."""
    text = json.dumps(record, ensure_ascii=False).encode("utf-8", "replace")  # as a reader has it, keys and all
    content = json.loads(text)
    write_json(path, content | {"seal": fingerprint(content)})


def read_record(path: str | Path) -> dict[str, Any]:
    """A JSON object that `write_record` wrote, without its seal; UserError where it is not what was sealed."""
    content = read_json(path)
    if not isinstance(content, dict):
        raise UserError(f"{path}: a JSON object was expected, found {type(content).__name__}; {way_out(Path(path))}")
    if (seal := content.pop("seal", None)) is None:
        raise UserError(f"{path}: its field seal is missing; {way_out(Path(path))}")
    if (found := fingerprint(content)) != seal:
        raise UserError(
            f"{path}: was changed after it was made: its fields' fingerprint is {found[:SHOWN]}, its seal says "
            f"{str(seal)[:SHOWN]}; {way_out(Path(path))}"
        )
    return content
