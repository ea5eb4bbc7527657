"""Where questions come from: every format gives the same rows, and what cannot be read is told in one line with its place."""

import csv
import io
import json

import pytest

from regime_w.questions.sources import read
from regime_w.runtime.errors import UserError

ROWS = [
    {"question": "How many?", "answer": "It is 1 + 1, a \"pair\",\nso\n#### 2", "level": "easy"},
    {"question": "小明有三个苹果。¿Cuántas?", "answer": "#### 3", "level": None},
]  # fmt: skip


def lines(rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def as_csv(rows, delimiter=","):
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def parquet(folder, rows):
    from datasets import Dataset

    path = folder / "rows.parquet"
    Dataset.from_list(rows).to_parquet(path)
    return path


def found(path, **source):
    return list(read({"source": "file", "path": str(path), "split": "train", "hub_config": None, "n": None} | source))


TEXTS = {
    "rows.jsonl": lines(ROWS),
    "rows.ndjson": "\n" + lines(ROWS),
    "rows.json": json.dumps(ROWS),
    "wrapped.json": json.dumps({"data": ROWS}),
    "lines.json": lines(ROWS),
    "rows.csv": as_csv(ROWS),
    "rows.tsv": as_csv(ROWS, "\t"),
}


@pytest.mark.parametrize("bom", ["", "\ufeff"], ids=["plain", "bom"])
@pytest.mark.parametrize("name", TEXTS)
def test_every_text_format_gives_the_same_rows(tmp_path, name, bom):
    (tmp_path / name).write_text(bom + TEXTS[name])
    assert [line.row for line in found(tmp_path / name)] == ROWS


def test_parquet_and_folders_give_the_same_rows(tmp_path, monkeypatch):
    from datasets import Dataset, DatasetDict

    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    assert [line.row for line in found(parquet(tmp_path, ROWS))] == ROWS
    (tmp_path / "hub/data").mkdir(parents=True)
    parquet(tmp_path, ROWS).rename(tmp_path / "hub/data/test-00000-of-00001.parquet")
    assert [line.row for line in found(tmp_path / "hub", split="test")] == ROWS
    Dataset.from_list(ROWS).save_to_disk(tmp_path / "saved")
    assert [line.row for line in found(tmp_path / "saved")] == ROWS
    DatasetDict({"test": Dataset.from_list(ROWS)}).save_to_disk(tmp_path / "splits")
    assert [line.row for line in found(tmp_path / "splits", split="test")] == ROWS
    with pytest.raises(UserError, match=r"splits: .*no split 'train'; it has test"):
        found(tmp_path / "splits")
    with pytest.raises(UserError, match=r"hub: no data set can be read .*train"):
        found(tmp_path / "hub")


def test_a_row_says_where_it_stands(tmp_path):
    for name, places in {
        "rows.jsonl": [":1", ":2"],
        "rows.csv": [":2", ":5"],
        "rows.json": [": row 1", ": row 2"],
    }.items():
        (tmp_path / name).write_text(TEXTS[name])
        assert [line.where for line in found(tmp_path / name)] == [f"{tmp_path / name}{place}" for place in places]


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("a.jsonl", '{"question": "1?", "question": "2?"}', "the key 'question' stands twice"),
        ("a.json", '[{"id": 1, "id": 1}]', "the key 'id' stands twice"),
        ("a.jsonl", '{"question": "1?"', "not JSON (Expecting"),
        ("a.jsonl", "[1, 2]", "a JSON object was expected, found list"),
        ("a.json", '["1?"]', "a JSON object was expected, found str"),
        ("a.csv", "question,answer\n1?,2,3\n", "3 cells under 2 columns"),
    ],
)
def test_a_line_that_is_no_row_has_a_problem(tmp_path, name, text, problem):
    (tmp_path / name).write_text(text)
    (line,) = found(tmp_path / name)
    assert problem in line.problem
    assert line.where.startswith(f"{tmp_path / name}:")


def test_text_that_is_not_utf8(tmp_path):
    (tmp_path / "a.jsonl").write_bytes('{"question": "é?"}\n{"question": "2?"}'.encode("latin-1"))
    first, second = found(tmp_path / "a.jsonl")
    assert first.problem == "not UTF-8; save the file as UTF-8"
    assert not second.problem
    for name in ("a.json", "a.csv"):
        (tmp_path / name).write_bytes("question\né?\n".encode("latin-1"))
        with pytest.raises(UserError, match=f"{name}: not UTF-8"):
            found(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("none.jsonl", None, "no such file or folder; check the path"),
        ("a.xlsx", "", "must end in one of .jsonl, .ndjson, .json, .csv, .tsv, .parquet"),
        ("a.json", "{", "a.json: not JSON"),
        ("a.json", '{"a": 1, "b": 2}', "a list of rows was expected, found dict"),
        ("a.csv", "question,question\n1,2\n", "a.csv:1: the column 'question' stands twice"),
        ("a.parquet", "no Parquet", "a.parquet: not Parquet"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, name, text, message):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=message):
        found(tmp_path / name)


def test_the_hub_is_read_by_id_config_split_and_revision(monkeypatch):
    import datasets

    asked = []
    monkeypatch.setattr(datasets, "load_dataset", lambda *args, **kwargs: asked.append((args, kwargs)) or ROWS)
    source = {"source": "hub", "hub_id": "openai/gsm8k", "hub_config": "main", "split": "test", "revision": "e53f048"}
    first, _ = read(source)
    assert (first.where, first.row) == ("openai/gsm8k: row 1", ROWS[0])
    assert asked == [(("openai/gsm8k", "main"), {"split": "test", "revision": "e53f048"})]


def test_a_hub_that_does_not_answer_is_one_line(monkeypatch):
    import datasets

    def refuse(*_, **__):
        raise ConnectionError("no\nnetwork")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(
        UserError, match=r"a/b: cannot be had from the hub \(no network\); without network set source: file"
    ):
        read({"source": "hub", "hub_id": "a/b", "hub_config": None, "split": "train", "revision": None})
