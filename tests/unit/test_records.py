"""Files appear complete or not at all; bad lines are named; changed model files are noticed."""

import errno
import os
import subprocess

import pytest

from regime_w.models.manifests import load_manifest, new_artefact, seal_of, write_manifest
from regime_w.runtime.errors import UserError
from regime_w.runtime.records import (
    new_file,
    new_folder,
    read_jsonl,
    remember_link,
    write_json,
    write_text,
)
from regime_w.runtime.seals import write_jsonl


def test_jsonl_round_trip(tmp_path):
    rows = [{"text": "a\nb “ü” \u2028", "n": 1}, {"text": "", "n": None}]
    write_jsonl(tmp_path / "a.jsonl", rows)
    assert read_jsonl(tmp_path / "a.jsonl", required=("text",)) == rows


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1}\n{"a": \n', r"x\.jsonl:2: not JSON"),
        (b'{"a": 1}\n\n{"b": 1}\n', r"x\.jsonl:3: field 'a' is missing"),
        (b"[1]\n", r"x\.jsonl:1: a JSON object was expected, found list"),
        (b'{"a": "\xff"}\n', r"x\.jsonl:1: not UTF-8"),
        (b"[" * 100000 + b"\n", r"x\.jsonl:1: not JSON"),
    ],
)
def test_a_bad_line_is_named(tmp_path, content, message):
    (tmp_path / "x.jsonl").write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_jsonl(tmp_path / "x.jsonl", required=("a",))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        read_jsonl(tmp_path / "none.jsonl")


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch):
    write_text(tmp_path / "a.txt", "old")

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_text(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_what_a_killed_writer_left_goes_and_a_living_ones_stays(tmp_path):
    (tmp_path / ".a.jsonl.abandoned").write_text("half a line")
    (tmp_path / ".b.jsonl.other").write_text("another file's")
    with new_file(tmp_path / "a.jsonl") as first:
        first.write(b"first")
        with new_file(tmp_path / "a.jsonl") as second:
            second.write(b"second")
        assert (tmp_path / "a.jsonl").read_text() == "second"
    assert (tmp_path / "a.jsonl").read_text() == "first"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".b.jsonl.other", "a.jsonl"]


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    target = tmp_path / "model"
    with pytest.raises(RuntimeError), new_folder(target) as folder:
        (folder / "half").write_text("x")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    for content in ("one", "two"):
        with new_folder(target) as folder:
            (folder / "weights").write_text(content)
    assert (target / "weights").read_text() == "two"


def write_folder(path, content):
    with new_folder(path) as folder:
        (folder / "weights").write_text(content)


@pytest.mark.parametrize("target", ["here", "not yet there"])
def test_a_folder_that_is_a_link_to_another_disk_stays_there(tmp_path, target):
    place, link = tmp_path / "scratch/base", tmp_path / "checkpoints/base"
    place.parent.mkdir()
    link.parent.mkdir()
    if target == "here":
        place.mkdir()
    link.symlink_to(place)
    for content in ("one", "two", "three"):
        remember_link(link)
        link.unlink(missing_ok=True)  # as Snakemake does before each job
        write_folder(link, content)
        assert link.is_symlink()
        assert link.resolve() == place
        assert (place / "weights").read_text() == content
        assert [path.name for path in place.parent.iterdir()] == ["base"]
    write_folder(link, "by hand")
    assert (place / "weights").read_text() == "by hand"
    assert link.is_symlink()


def test_a_link_that_a_folder_took_the_place_of_is_forgotten(tmp_path):
    link = tmp_path / "base"
    (tmp_path / "scratch").mkdir()
    link.symlink_to(tmp_path / "scratch/base")
    remember_link(link)
    link.unlink()
    link.mkdir()
    remember_link(link)
    link.rmdir()
    write_folder(link, "here")
    assert not link.is_symlink()


def test_a_disk_that_is_not_there_is_told(tmp_path):
    link = tmp_path / "base"
    link.symlink_to(tmp_path / "unmounted/base")
    remember_link(link)
    link.unlink()
    with pytest.raises(UserError, match=r"unmounted is not there; make it, or remove .*\.base\.link"):
        write_folder(link, "x")
    assert not (tmp_path / "unmounted").exists()


def test_a_seal_says_which_manifest_a_folder_has(tmp_path):
    path = tmp_path / "base"
    seals = []
    for content in ("one", "two"):
        with new_artefact(path) as folder:
            (folder / "weights").write_text(content)
            write_manifest(folder, {"source": "test"})
        load_manifest(path)
        seals.append(seal_of(path).read_text())
        subprocess.run(["sha256sum", "--check", "base.sha256"], cwd=tmp_path, check=True, capture_output=True)
    assert seals[0] != seals[1]
    write_manifest(path, {"source": "of another run"})
    with pytest.raises(UserError, match=r"is not the manifest that .*base\.sha256 was written for"):
        load_manifest(path)
    seal_of(path).unlink()
    load_manifest(path)


def test_snakemakes_own_file_is_no_part_of_a_model(tmp_path):
    (tmp_path / "weights").write_text("x")
    (tmp_path / ".snakemake_timestamp").touch()
    assert set(write_manifest(tmp_path, {})["files"]) == {"weights"}


@pytest.fixture
def model(tmp_path):
    (tmp_path / "weights").write_bytes(b"0123456789")
    (tmp_path / "config").write_bytes(b"{}")
    write_manifest(tmp_path, {"source": "test"})
    return tmp_path


def test_manifest_round_trip(model):
    folder, manifest = load_manifest(model)
    assert folder == model
    assert manifest["files"]["weights"]["bytes"] == 10
    assert manifest["made_from"] == {"source": "test"}


def test_changed_short_and_missing_files_are_noticed(model):
    (model / "weights").write_bytes(b"0123456780")
    with pytest.raises(UserError, match="its bytes changed"):
        load_manifest(model)
    (model / "weights").write_bytes(b"01234")
    with pytest.raises(UserError, match="5 bytes, 10 in"):
        load_manifest(model)
    (model / "weights").unlink()
    with pytest.raises(UserError, match="missing"):
        load_manifest(model)


def test_an_empty_manifest_is_no_model(tmp_path):
    write_json(tmp_path / "manifest.json", {"files": {}})
    with pytest.raises(UserError, match="lists no files"):
        load_manifest(tmp_path)
