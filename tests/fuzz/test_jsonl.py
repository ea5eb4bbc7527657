"""Hostile JSONL: every line is a record or a one-line error, and never costs its neighbours."""

import json
import random
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from fuzz.guard import attempt, ends, examples, repeatable
from fuzz.hostile import KINDS, nested, texts, values
from hypothesis import given
from hypothesis import strategies as st

from regime_w.questions.rows import load
from regime_w.runtime.records import read_jsonl
from regime_w.runtime.seals import write_jsonl
from regime_w.sampling import journal
from regime_w.sampling.engines.interface import Completion
from regime_w.tasks.verifiers import open_verifier

COUNTS = [pytest.param(2_000, id="smoke"), pytest.param(100_000, marks=pytest.mark.fuzz, id="full")]

keys = st.sampled_from(("key", "text", "num_tokens", "finish_reason", "id", "question", "answer", "x"))
completions = st.fixed_dictionaries(
    {"key": st.sampled_from(("k1", "k2", "k3")), "text": texts, "num_tokens": st.integers(0, 99)},
    optional={"finish_reason": st.sampled_from(("stop", "length")), "more": values},
)
objects = st.one_of(st.dictionaries(keys, values, max_size=5), completions)
encoded = st.builds(
    lambda value, ascii_only: json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass"),
    st.one_of(objects, objects, values),
    st.booleans(),
)
TOKENS = (
    b'"',
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"null",
    b"NaN",
    b"\\ud800",
    b"\\u0000",
    b"\r",
    b"\x00",
    b"\xff",
    b"\xc3",
)
SPECIAL = (
    *(b"", b" ", b"\t\r", b"\xef\xbb\xbf{}", b"\xff\xfe{\x00}\x00", b"\x00", b"\x1a", b"\x0c", "\u00a0".encode()),
    *(b"null", b"[]", b'"x"', b"0", b"{", b"}", b"{}{}", b"{'a': 1}", b'{"a": 1,}', b"{/* */}", b'{"a": NaN}'),
    *(b'{"key": "k1", "key": "k2"}', b'{"a": -Infinity}', b'{"a": 1e999}', b'{"a": 0x10}', b'{"a": 01}'),
    *(b'{"a": "\xc3"}', b'{"a": "\xed\xa0\x80"}', b'{"a": "\xf8\x88\x80\x80\x80"}', b'{"a": "\xc0\xaf"}'),
    *(rb'{"a": "\ud800"}', rb'{"\udfff": 1}', rb'{"a": "\ud83d\ude00"}', rb'{"a": "\u0000"}', rb'{"a": "\x41"}'),
    *(b'{"a": "\r"}', b'{"a": "\x00"}', '{"a": "\u2028\u2029\x85"}'.encode(), b'{"a": ' + b"9" * 6_000 + b"}"),
    *(b'{"a": 1' + b"0" * 4_000 + b".5}", b'{"' + b"k" * 200_000 + b'": 1', b'{"a": "' + b"x" * 1_000_000 + b'"}'),
    *(nested(inner, depth, kind).encode() for inner in ("1", "{}") for depth in (900, 100_000) for kind in KINDS),
)  # fmt: skip


def some_lines(count: int) -> Iterator[bytes]:
    """`count` lines: what JSON and Hypothesis have to offer, then these cut, spliced, damaged and put together."""
    made = [*SPECIAL, *examples(encoded, count // 40), *examples(st.binary(max_size=30), count // 100)]
    lines = [line.replace(b"\n", b" ") for line in made]
    short = [line for line in lines if len(line) < 5_000]
    yield from lines
    rng = random.Random(0)
    for _ in range(count - len(lines)):
        line, other = rng.choice(short), rng.choice(short)
        at, end = sorted(rng.randrange(len(line) + 1) for _ in range(2))
        noise = rng.choice((b"", rng.randbytes(rng.randrange(4)), rng.choice(TOKENS))).replace(b"\n", b"")
        kind = rng.randrange(4)
        yield (
            line[:at] + noise + line[end if kind == 1 else at :]  # a piece replaced, or put in
            if kind < 2
            else line[:at] + noise + other[rng.randrange(len(other) + 1) :]
            if kind == 2
            else line[:at] + noise
        )


def meaning(line: bytes) -> Any:
    """The object that a line holds by the letter of RFC 8259 and UTF-8, None where there is none."""
    try:
        value = json.loads(line.decode("utf-8"))
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def same(a: Any, b: Any) -> bool:
    return repr(a) == repr(b)  # NaN equals itself


@pytest.mark.parametrize("count", COUNTS)
def test_read_jsonl(count: int, tmp_path: Path) -> None:
    """A line is read as what it says, or refused with its number; blank ones are passed over."""
    path, seen, read = tmp_path / "rows.jsonl", 0, 0
    for line in some_lines(count):
        seen += 1
        path.write_bytes(b'{"x": 1}\n' + line + b"\n")
        wanted = meaning(line)
        with ends(line):
            rows, message = attempt(lambda: read_jsonl(path))
        if message:
            assert wanted is None, line
            assert message.startswith(f"{path}:2: "), message
            continue
        if wanted is None:
            assert not line.decode().strip(), line
            assert rows == [{"x": 1}]
            continue
        read += 1
        assert same(rows, [{"x": 1}, wanted]), line
        if read % 10 == 0:
            write_jsonl(path, rows)
            assert same(read_jsonl(path), rows), line
    assert seen >= count
    assert read > seen / 20  # not only refusals


@pytest.mark.parametrize("count", COUNTS)
def test_journal(count: int, tmp_path: Path) -> None:
    """A completion is read as it was written or not at all, a bad line costs no other, and a torn last line is cut off by the
    next writer."""
    folder, seen, kept, rng = tmp_path / "journal", 0, 0, random.Random(0)
    folder.mkdir()
    written = {key: Completion(key, f"{key}: 18 \u00e9", (3, 1, 2), "stop") for key in ("good", "k1", "k2", "k3")}
    between = b"\n" + journal.line_of(written["good"])
    for lines in batched(some_lines(count), 25):
        seen += len(lines)
        for key in ("k1", "k2", "k3"):
            lines.insert(rng.randrange(len(lines) + 1), damaged(journal.line_of(written[key]).rstrip(), rng))
        path = folder / "0.jsonl"
        path.write_bytes(between + between.join(lines))
        with ends(lines):
            found = journal.load(folder, written)
        assert found["good"] == written["good"]
        kept += len(found) - 1
        assert all(record == written[key] for key, record in found.items())
        new = replace(written["k3"], text="new")
        with ends(lines), journal.Writer(folder, "0") as writer:
            writer.append(new)
        assert journal.load(folder, ["k3"])["k3"] == new
    assert seen >= count
    assert kept > 0


def damaged(line: bytes, rng: random.Random) -> bytes:
    """The line with one bit turned, or cut off, or as it is."""
    at = rng.randrange(len(line))
    turned = line[:at] + bytes([line[at] ^ 1 << rng.randrange(8)]) + line[at + 1 :]
    return rng.choice((line, line[:at], turned)).replace(b"\n", b" ")


def batched(items: Iterable[bytes], size: int) -> Iterator[list[bytes]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def mostly(good: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Three of four are good; `one_of` counts a strategy that it is given three times once."""
    return st.sampled_from((good, good, good, values)).flatmap(lambda strategy: strategy)


@pytest.mark.parametrize("count", COUNTS)
def test_questions_of_a_file(count: int, tmp_path: Path) -> None:
    """What a user's file gives is records that later stages can take, or one line that names the place."""
    path, seen, taken = tmp_path / "questions.jsonl", 0, 0
    solved = texts.map(lambda text: f"{text}\n#### 18")
    rationales = st.dictionaries(texts, texts, max_size=2)
    question = st.fixed_dictionaries(
        {"question": mostly(texts), "answer": mostly(solved)},
        optional={"id": mostly(st.sampled_from("abcdefgh")), "rationales": mostly(rationales)},
    )

    @repeatable(count // 30)
    @given(st.lists(question, min_size=1, max_size=3), st.booleans(), st.sampled_from(["error", "drop"]))
    def check(made: list[dict[str, Any]], ascii_only: bool, on_bad_row: str) -> None:
        nonlocal seen, taken
        seen += len(made)
        lines = [json.dumps(row, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass") for row in made]
        path.write_bytes(b"\n".join(lines))
        source = {"source": "file", "path": str(path), "n": None, "corrections": {}, "on_bad_row": on_bad_row}
        verifier = open_verifier({"verifier": "number", "timeout": 10})
        with ends(lines):
            loaded, _ = attempt(lambda: load("questions.train", source, verifier))
        if loaded is None:
            return
        records = loaded.records
        assert len(records) + loaded.told["bad_rows"]["count"] == loaded.told["rows"] <= len(made)
        assert on_bad_row == "drop" or len(records) == len(made)
        taken += len(records)
        assert len({record["id"] for record in records}) == len(records)
        for record in records:
            assert all(record[name] and isinstance(record[name], str) for name in ("id", "question", "gold_answer"))
            rationales = record.get("rationales", {})
            assert all(isinstance(text, str) for pair in rationales.items() for text in pair)
        json.dumps(records, ensure_ascii=False).encode("utf-8")

    check()
    assert seen >= count // 30
    assert taken > seen / 10  # not only refusals
