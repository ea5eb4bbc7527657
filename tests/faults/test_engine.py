"""Engines that die, hang or fall short, processes killed while they collect, journals of other runs."""

import json
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pretended_engine
import pytest
from helpers import ROOT

from regime_w.sampling import collect

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]
KILLS = 25


@pytest.fixture(autouse=True)
def _real_engines_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("open_engine", "choose"):
        monkeypatch.setattr(collect, name, getattr(collect, name))


def start(folder: Path, **settings: Any) -> "subprocess.Popen[str]":
    command = [sys.executable, str(ROOT / "tests/faults/pretended_engine.py"), str(folder / "journal")]
    return subprocess.Popen(
        [*command, str(folder / "made"), json.dumps(settings)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def made(folder: Path) -> Counter[str]:
    path = folder / "made"
    return Counter(path.read_text().split()) if path.exists() else Counter()


def test_a_killed_collection_makes_nothing_twice(tmp_path: Path) -> None:
    draw = random.Random(0)
    for _ in range(KILLS):
        process, before = start(tmp_path, n=2000, pause=0.001), made(tmp_path).total()
        target = before + draw.randint(0, 60)
        while made(tmp_path).total() < target and process.poll() is None:
            time.sleep(draw.uniform(0, 0.01))
        process.kill()
        process.communicate()
    finished = made(tmp_path)
    assert 0 < finished.total() < 2000
    last = start(tmp_path, n=2000)
    said, error = last.communicate(timeout=120)
    assert last.returncode == 0, error
    assert said.splitlines()[-1] == "2000"
    # A completion that was taken and not yet told to us when the kill came is kept and never told.
    assert 2000 - KILLS <= len(made(tmp_path)) <= 2000
    assert max(made(tmp_path).values()) == 1


@pytest.mark.parametrize(("fault", "kept"), [("die", 7), ("fewer", 7), ("hang", 7), ("hang at the start", 0)])
def test_what_an_engine_finished_is_kept_and_the_rest_is_made(tmp_path: Path, fault: str, kept: int) -> None:
    process = start(tmp_path, n=20, fault=fault, after=7)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 2
    expected = {
        "die": "the engine died",
        "fewer": "the engine returned 13 of 20 trajectories too few; run again to make them",
    }.get(fault, "no trajectory finished for 1 s (engine.stall_timeout)")
    assert error.startswith("error: ")
    assert expected in error
    assert error.count("\n") == 1
    again = start(tmp_path, n=20)
    said, error = again.communicate(timeout=120)
    assert again.returncode == 0, error
    assert f"{kept} kept from the journal, {20 - kept} to make" in said
    assert set(made(tmp_path).values()) == {1}


@pytest.mark.parametrize(
    "change",
    [
        {"model": "model 2"}, {"version": "2"}, {"engine": "another"}, {"prompt": 2}, {"temperature": 0.7},
        {"seed": 10**6}, {"top_p": 0.9}, {"max_new_tokens": 9},
    ],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_a_journal_of_another_run_is_not_used_and_not_lost(tmp_path: Path, change: dict[str, Any]) -> None:
    def collected(**settings: Any) -> int:
        before = made(tmp_path).total()
        pretended_engine.completions(tmp_path / "journal", tmp_path / "made", **settings)
        return made(tmp_path).total() - before

    assert collected() == 20
    assert collected(**change) == 20
    assert collected() == 0
    assert collected(**change) == 0


def test_records_of_another_format_are_made_anew(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    wanted = pretended_engine.completions(journal, tmp_path / "made")
    path = journal / "0-of-1.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    for record in records[:5]:
        del record["finish_reason"]
    path.unlink()
    # In a file that is read last: the records made anew must count all the same.
    (journal / "z.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    assert pretended_engine.completions(journal, tmp_path / "made") == wanted
    assert made(tmp_path).total() == 25
    assert pretended_engine.completions(journal, tmp_path / "made") == wanted
    assert made(tmp_path).total() == 25


def test_a_record_that_an_evaluation_lacks_is_made(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    wanted = pretended_engine.completions(journal, tmp_path / "made")
    path = journal / "0-of-1.jsonl"
    lines = path.read_text().splitlines(True)
    path.write_text("".join(lines[:4] + lines[5:]))
    assert pretended_engine.completions(journal, tmp_path / "made") == wanted
    assert sorted(made(tmp_path).values()) == [1] * 19 + [2]
