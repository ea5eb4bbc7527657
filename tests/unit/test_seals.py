"""Record files are told whole from damaged, edited, foreign and stale; what was edited on purpose can be adopted."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers import ROOT

from regime_w.runtime import seals
from regime_w.runtime.adopt import adopt
from regime_w.runtime.errors import UserError
from regime_w.runtime.records import sha256_file
from regime_w.runtime.seals import (
    check,
    check_all,
    common_source,
    read_record,
    require_same,
    seal_of,
    write_jsonl,
    write_record,
)

ROWS = [{"id": str(number), "text": "ü\n\u2028"} for number in range(12)]
MADE_FROM = {"model": "m" * 64, "questions": "q" * 64}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_jsonl(tmp_path / "rollouts.jsonl", ROWS, MADE_FROM)
    return tmp_path / "rollouts.jsonl"


def edit(change: Callable[[bytes], bytes]) -> Callable[[Path], Any]:
    return lambda path: path.write_bytes(change(path.read_bytes()))


def flipped(content: bytes) -> bytes:
    place = len(content) // 2
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def foreign(path: Path) -> None:
    write_jsonl(path.with_name("other.jsonl"), ROWS[:-1] + ROWS[:1])
    shutil.move(path.with_name("other.jsonl"), path)


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "a flipped bit": edit(flipped),
    "cut": edit(lambda content: content[:-9]),
    "a line removed": edit(lambda content: b"".join(content.splitlines(True)[1:])),
    "a line twice": edit(lambda content: content + content.splitlines(True)[0]),
    "lines in another order": edit(lambda content: b"".join(sorted(content.splitlines(True), reverse=True))),
    "empty": edit(lambda content: b""),
    "another's content": foreign,
}


def test_a_whole_file_has_a_seal_that_says_what_it_is(path: Path) -> None:
    seal = check(path)
    assert (seal.sha256, seal.bytes, seal.lines) == (sha256_file(path), path.stat().st_size, len(ROWS))
    assert (seal.made_from, seal.adopted) == (MADE_FROM, None)
    assert set(json.loads(seal_of(path).read_text())) == {*seal._fields, "file", "seal"} - {"path"}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_file_is_told_in_a_line_with_both_sides(path: Path, damage: Callable[[Path], Any]) -> None:
    made = sha256_file(path)[:12]
    damage(path)
    with pytest.raises(UserError, match="was changed after it was made") as told:
        check(path)
    for words in (str(path), sha256_file(path)[:12], made, f"{len(ROWS)} lines", "remove it", f"adopt {path}"):
        assert words in str(told.value)


def test_a_missing_seal_and_a_missing_file_are_told(path: Path) -> None:
    seal_of(path).unlink()
    with pytest.raises(UserError, match=r"rollouts\.jsonl: its seal .*rollouts\.jsonl\.seal is missing; .*adopt"):
        check(path)
    path.unlink()
    with pytest.raises(UserError, match=r"rollouts\.jsonl: no such file"):
        check(path)


def test_whatever_byte_of_a_seal_changes_it_is_told_or_the_same(path: Path) -> None:
    whole, content = check(path), seal_of(path).read_bytes()
    told: list[str] = []
    for place in range(len(content)):
        seal_of(path).write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        try:
            assert check(path) == whole
        except UserError as error:
            told.append(str(error))
    assert len(told) > len(content) / 2
    assert all(str(path) in message for message in told)


@pytest.mark.parametrize("content", ["", "[]", "{}", "\xff"])
def test_what_is_no_seal_is_told(path: Path, content: str) -> None:
    seal_of(path).write_text(content, encoding="latin-1")
    with pytest.raises(UserError, match=r"rollouts\.jsonl\.seal: "):
        check(path)
    write_record(seal_of(path), {"file": path.name})
    with pytest.raises(UserError, match=r"rollouts\.jsonl\.seal: is no seal of "):
        check(path)


def test_a_foreign_file_that_came_with_its_seal_is_told_by_its_sources(path: Path, tmp_path: Path) -> None:
    seal = check(path)
    require_same(seal, "model", tmp_path / "sft", "m" * 64)
    require_same(seal, "train", tmp_path / "train.jsonl", "of which it says nothing")
    with pytest.raises(
        UserError, match=r"rollouts\.jsonl: was made from another model \(m{12}\) than .*sft \(f{12}\); "
    ):
        require_same(seal, "model", tmp_path / "sft", "f" * 64)
    write_jsonl(tmp_path / "b.jsonl", ROWS, {"model": "f" * 64})
    write_jsonl(tmp_path / "c.jsonl", ROWS)
    third, both = check(tmp_path / "c.jsonl"), check_all([path, tmp_path / "b.jsonl"])
    assert common_source([third, seal, third], "model") == {"model": "m" * 64}
    assert common_source([third], "model") == {}
    with pytest.raises(
        UserError, match=r"b\.jsonl: was made from another model \(f{12}\) than .*rollouts\.jsonl \(m{12}\)"
    ):
        common_source(both, "model")


def test_a_kill_between_a_file_and_its_seal_leaves_no_seal_of_another(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seals, "write_seal", lambda seal: sys.exit("killed"))
    with pytest.raises(SystemExit):
        write_jsonl(path, ROWS[1:])
    with pytest.raises(UserError, match="is missing"):
        check(path)


def test_an_edited_file_is_taken_once_it_is_adopted(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    DAMAGES["a line removed"](path)
    assert f"{path}: {len(ROWS) - 1} records adopted" in adopt(path)
    with caplog.at_level("INFO"):
        seal = check(path)
    assert (seal.lines, seal.made_from) == (len(ROWS) - 1, {})
    assert f"{path}: its content was adopted by hand, {seal.adopted}" in caplog.text
    path.write_bytes(path.read_bytes() + b"[]\n")
    with pytest.raises(UserError, match=rf"rollouts\.jsonl:{len(ROWS)}: a JSON object was expected"):
        adopt(path)


@pytest.mark.parametrize("name", ["model.safetensors", "list.json"])
def test_what_is_no_record_file_is_not_adopted(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("[1]")
    with pytest.raises(UserError, match=f"{name}: no record file of a run"):
        adopt(tmp_path / name)


def test_adopting_is_a_command(path: Path) -> None:
    command = [sys.executable, "-m", "regime_w.runtime.adopt"]
    seal_of(path).unlink()
    done = subprocess.run([*command, path], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert check(path).adopted
    done = subprocess.run([*command, path.with_name("none.jsonl")], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


RECORD = {"stage": "ü", "seconds": 1.5, "gpus": [], 3: (1, 2), "none": None, "share": float("inf")}


def test_a_json_record_is_sealed_in_itself(tmp_path: Path) -> None:
    path = tmp_path / "train_sft.usage.json"
    write_record(path, RECORD)
    assert read_record(path) == {**{str(key): value for key, value in RECORD.items()}, "3": [1, 2]}
    content, told = path.read_bytes(), list[str]()
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        try:
            assert read_record(path)["seconds"] == 1.5  # white space
        except UserError as error:
            told.append(str(error))
    assert len(told) > len(content) / 2
    assert all(str(path) in message for message in told)
    path.write_bytes(content.replace(b"1.5", b"0.5"))
    with pytest.raises(UserError, match="was changed after it was made"):
        read_record(path)
    assert adopt(path) == f"{path}: adopted"
    assert read_record(path)["seconds"] == 0.5
