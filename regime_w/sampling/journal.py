"""A folder of JSONL files that keeps finished trajectories over kills, new shard counts and edited configs.

Every record has a `key`, the fingerprint of all that decides its text (model, the prompt's token ids, sampling, engine); so
a record is reused exactly when the same thing is asked again, and what was asked differently is made anew. It has a `check`,
the fingerprint of the rest, so that one whose bytes changed is made anew too. Each writer appends to a file of its own; a
torn last line (a kill, a full disk) is passed over, and cut off by its next writer.
"""

import json
import math
import os
import re
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

from regime_w.runtime.records import fingerprint, private_folder
from regime_w.sampling.engines.interface import Completion

FSYNC_SECONDS = 2.0
SHARD = re.compile(r"([0-9]+)-of-([0-9]+)")


def load(folder: Path, keys: Iterable[str], name: str = "") -> dict[str, Completion]:
    """The completions of the wanted keys in all files of the folder that may hold some, see `may_hold`; what is no whole
    one is passed over."""
    wanted = set(keys)
    found: dict[str, Completion] = {}
    for path in sorted(folder.glob("*.jsonl")):
        if not may_hold(path.stem, name):
            continue
        with open(path, "rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break
                try:
                    record = json.loads(line)
                    if record["key"] in wanted and record.pop("check") == fingerprint(record):
                        found[record["key"]] = Completion(**record | {"token_ids": tuple(record["token_ids"])})
                except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                    continue
    return found


def line_of(completion: Completion) -> bytes:
    """The record of a completion. Lone surrogates, which UTF-8 cannot carry, become question marks."""
    record = asdict(completion) | {"text": completion.text.encode("utf-8", "replace").decode()}
    return json.dumps(record | {"check": fingerprint(record)}, ensure_ascii=False).encode() + b"\n"


def may_hold(writer: str, reader: str) -> bool:
    """Whether what `reader` asks for may stand in the file of `writer`.

    Shards I-of-N and J-of-M share questions just if I and J leave the same rest divided by the greatest common divisor of
    N and M, since a question's shard is a hash modulo their number. So each of 1,000 shards reads one file, not 1,000.
    """
    names = SHARD.fullmatch(writer), SHARD.fullmatch(reader)
    if not (names[0] and names[1]):
        return True
    (i, n), (j, m) = ((int(name[1]), int(name[2])) for name in names if name)
    return n < 1 or m < 1 or (i - j) % math.gcd(n, m) == 0


class Writer:
    """Appends records to `folder/name.jsonl`. A record appended outlives this process however it ends; fsync follows at
    most FSYNC_SECONDS apart while records come, and on exit, for the sake of a crash of the machine."""

    def __init__(self, folder: Path, name: str) -> None:
        private_folder(folder)
        self.path = folder / f"{name}.jsonl"
        self.file = open(self.path, "ab+")  # noqa: SIM115 (closed in __exit__)
        _cut_torn_line(self.file)
        self.synced = time.monotonic()

    def append(self, completion: Completion) -> None:
        self.file.write(line_of(completion))
        self.file.flush()
        if time.monotonic() - self.synced > FSYNC_SECONDS:
            self.sync()

    def sync(self) -> None:
        self.file.flush()
        os.fsync(self.file.fileno())
        self.synced = time.monotonic()

    def __enter__(self) -> "Writer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.sync()
        finally:
            self.file.close()


def _cut_torn_line(file: Any) -> None:
    size = file.seek(0, os.SEEK_END)
    position = size
    while position > 0:
        start = max(0, position - 65536)
        file.seek(start)
        block = file.read(position - start)
        newline = block.rfind(b"\n")
        if newline >= 0:
            position = start + newline + 1
            break
        position = start
    if position < size:
        file.truncate(position)
    file.seek(0, os.SEEK_END)
