"""Rows of a source of questions: a file (JSONL, JSON, CSV, TSV, Parquet), a folder of a data set, the hub, the generator.

    for line in read({"source": "file", "path": "train.jsonl", ...}): ...
    # Line(where="train.jsonl:17", row={"question": "...", "answer": "..."}, problem="")

A line that is no row has a problem instead, so that a caller may pass over it; UserError where nothing can be read.
"""

import csv
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from regime_w.questions.synthetic import generate
from regime_w.runtime.errors import UserError

SYNTHETIC_ROWS = 1000  # where the config says no number


class Line(NamedTuple):
    """Where a row stands, and the row; or what keeps it from being one."""

    where: str
    row: dict[str, Any]
    problem: str = ""


class _Doubled(dict[str, Any]):
    """A JSON object in which a key stands twice."""

    key = ""


def read(source: dict[str, Any]) -> Iterator[Line]:
    kind = source["source"]
    if kind == "synthetic":
        rows = generate(source["n"] or SYNTHETIC_ROWS, source["split"], source["seed"], source["form"])
        return (Line(f"the generator: question {number}", row) for number, row in enumerate(rows, 1))
    if kind == "hub":
        return _from_hub(source)
    path = Path(source["path"])
    if not path.exists():
        raise UserError(f"{path}: no such file or folder; check the path in the config")
    if path.is_dir():
        return _from_folder(path, source)
    if (reader := READERS.get(path.suffix.lower())) is None:
        raise UserError(f"{path}: its name must end in one of {', '.join(READERS)}, so that its format is known")
    return reader(path)


def _from_hub(source: dict[str, Any]) -> Iterator[Line]:
    from datasets import load_dataset

    name = source["hub_id"]
    try:
        rows = load_dataset(name, source["hub_config"], split=source["split"], revision=source["revision"])
    except (OSError, ValueError) as error:
        raise UserError(
            f"{name}: cannot be had from the hub ({_one_line(error)}); "
            "without network set source: file and a path in the config"
        ) from None
    return (Line(f"{name}: row {number}", row) for number, row in enumerate(rows, 1))


def _from_folder(path: Path, source: dict[str, Any]) -> Iterator[Line]:
    """A folder of data files as on the hub, or one that `Dataset.save_to_disk` wrote."""
    from datasets import load_dataset, load_from_disk

    try:
        if (path / "dataset_dict.json").is_file():
            splits = load_from_disk(str(path))
            if source["split"] not in splits:
                raise ValueError(f"no split {source['split']!r}; it has {', '.join(splits)}")
            rows = splits[source["split"]]
        elif (path / "state.json").is_file():
            rows = load_from_disk(str(path))
        else:
            rows = load_dataset(str(path), source["hub_config"], split=source["split"])
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: no data set can be read from this folder ({_one_line(error)})") from None
    return (Line(f"{path}: row {number}", row) for number, row in enumerate(rows, 1))


def _jsonl(path: Path) -> Iterator[Line]:
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            line = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            if not line.isspace():
                yield _parsed(f"{path}:{number}", line)


def _json(path: Path) -> Iterator[Line]:
    """A list of rows, or one under the only key of an object; a file of one row a line is read as JSONL."""
    text = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    try:
        content = _loads(text)
    except UnicodeDecodeError:
        raise UserError(f"{path}: not UTF-8; save the file as UTF-8") from None
    except (ValueError, RecursionError) as error:
        if text.lstrip().startswith(b"{") and "Extra data" in str(error):
            yield from _jsonl(path)
            return
        raise UserError(f"{path}: not JSON ({error})") from None
    if isinstance(content, dict) and len(content) == 1:
        (content,) = content.values()
    if not isinstance(content, list):
        raise UserError(f"{path}: a list of rows was expected, found {type(content).__name__}")
    for number, row in enumerate(content, 1):
        yield _checked(f"{path}: row {number}", row)


def _csv(path: Path, delimiter: str = ",") -> Iterator[Line]:
    """Cells are texts; an empty one is null. A row's line is the one it begins in."""
    csv.field_size_limit(sys.maxsize)
    with open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter)
        try:
            names = next(reader, [])
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise UserError(f"{path}:1: the column {twice[0]!r} stands twice; rename one")
            begin = reader.line_num + 1
            for cells in reader:
                where, begin = f"{path}:{begin}", reader.line_num + 1
                if len(cells) == len(names):
                    yield Line(where, {name: cell or None for name, cell in zip(names, cells, strict=True)})
                elif cells:
                    yield Line(where, {}, f"{len(cells)} cells under {len(names)} columns")
        except UnicodeDecodeError:
            raise UserError(f"{path}: not UTF-8; save the file as UTF-8") from None
        except csv.Error as error:
            raise UserError(f"{path}:{reader.line_num}: not CSV ({error})") from None


def _tsv(path: Path) -> Iterator[Line]:
    return _csv(path, "\t")


def _parquet(path: Path) -> Iterator[Line]:
    import pyarrow
    from pyarrow.parquet import ParquetFile

    try:
        number = 0
        for batch in ParquetFile(path).iter_batches():
            for row in batch.to_pylist():
                number += 1
                yield Line(f"{path}: row {number}", row)
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{path}: not Parquet ({_one_line(error)})") from None


READERS: dict[str, Callable[[Path], Iterator[Line]]] = {
    ".jsonl": _jsonl,
    ".ndjson": _jsonl,
    ".json": _json,
    ".csv": _csv,
    ".tsv": _tsv,
    ".parquet": _parquet,
}


def _parsed(where: str, line: bytes) -> Line:
    try:
        return _checked(where, _loads(line))
    except UnicodeDecodeError:
        return Line(where, {}, "not UTF-8; save the file as UTF-8")
    except (ValueError, RecursionError) as error:
        return Line(where, {}, f"not JSON ({error})")


def _checked(where: str, row: Any) -> Line:
    if isinstance(row, _Doubled):
        return Line(where, {}, f"the key {row.key!r:.60} stands twice")
    if isinstance(row, dict):
        return Line(where, row)
    return Line(where, {}, f"a JSON object was expected, found {type(row).__name__}")


def _loads(text: bytes) -> Any:
    return json.loads(text.decode("utf-8"), object_pairs_hook=_once)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these pairs; Python would keep the last of a key that stands twice, and say nothing."""
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    keys = [key for key, _ in pairs]
    doubled = _Doubled(found)
    doubled.key = next(key for key in keys if keys.count(key) > 1)
    return doubled


def _one_line(error: Exception) -> str:
    return f"{' '.join(str(error).split())[:400]}"
