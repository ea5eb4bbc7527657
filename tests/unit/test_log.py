"""What stages say: when and which job on every line, summaries at the end."""

import logging
import re
import sys
import warnings
from io import BytesIO, TextIOWrapper
from pathlib import Path

import pytest

from regime_w.runtime import log
from regime_w.runtime.errors import say
from regime_w.runtime.progress import Progress

LINE = r"\d\d:\d\d:\d\d generate 3-of-8  "


@pytest.fixture(autouse=True)
def job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(log.JOB, "generate 3-of-8")


@pytest.mark.parametrize(
    ("stage", "file", "name"),
    [
        ("generate", "logs/demo/round1/generate/3-of-8.log", "generate 3-of-8"),
        ("generate", "logs/demo/round2/generate/3-of-8.log", "generate 3-of-8 of round2"),
        ("evaluate", "logs/demo/evaluate/platinum/round2.log", "evaluate platinum/round2"),
        ("train_dpo", "logs/demo/round1/train_dpo.log", "train_dpo"),
        ("merge_lora", "logs/demo/merge_lora/round1/merged.log", "merge_lora round1/merged"),
        ("split_questions", "logs/demo/split_questions/round1.log", "split_questions round1"),
        ("train_sft", "logs/smol/study/1f0c/train_sft.log", "train_sft in study/1f0c"),
        ("generate", "logs/smol/study/1f0c/round2/generate/0-of-1.log", "generate 0-of-1 of round2 in study/1f0c"),
        ("study_recipe", "logs/smol/study_recipe/dpo.log", "study_recipe dpo"),
        ("base_model", ".snakemake/storage/fs/logs/model/logs/demo/base_model.log", "base_model"),
        ("test", "data/out.jsonl", "test"),
        ("test", None, "test"),
    ],
)
def test_a_jobs_name(stage: str, file: str | None, name: str) -> None:
    assert log.name_of(stage, file and Path(file)) == name


def test_every_line_has_the_time_and_the_jobs_name(capsys: pytest.CaptureFixture[str]) -> None:
    logging.getLogger("regime_w.sampling.collect").info("two\n  lines")
    logging.getLogger("scripts.generate").warning("ALARM: one")
    logging.captureWarnings(False)  # pytest catches them otherwise
    log.setup()
    warnings.warn("from a library", UserWarning, stacklevel=1)
    logging.getLogger("some.library").info("nobody asked")
    said = capsys.readouterr().out
    assert re.match(rf"{LINE}two\n{LINE}  lines\n{LINE}ALARM: one\n{LINE}.*UserWarning: from a library\n", said)
    assert "nobody asked" not in said
    assert all(re.match(LINE, line) for line in said.splitlines())


def test_errors_too_but_bare_where_a_stage_is_called_by_hand(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    say("error: no good")
    monkeypatch.delenv(log.JOB)
    say("error: no good")
    assert re.fullmatch(rf"{LINE}error: no good\nerror: no good\n", capsys.readouterr().err)


def test_set_up_twice_says_things_once(capsys: pytest.CaptureFixture[str]) -> None:
    log.setup()
    log.setup()
    logging.getLogger("regime_w").info("once")
    assert capsys.readouterr().out.count("once") == 1


def test_what_a_terminal_cannot_show_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = TextIOWrapper(BytesIO(), encoding="latin-1", write_through=True)
    monkeypatch.setattr(sys, "stdout", stream)
    log.setup()
    logging.getLogger("regime_w").info("Сколько?")
    assert rb"\u0421\u043a" in stream.buffer.getvalue()  # type: ignore[attr-defined]


def test_a_line_of_progress(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 5.0, 82.0])
    monkeypatch.setattr("regime_w.runtime.progress.time.monotonic", lambda: next(clock))
    progress = Progress(7_976, "Collected")
    progress.update(100)
    progress.update(2_461, tokens=365_310)
    told = "2,561/7,976 trajectories, 31.2/s, 4,455 tokens/s, 82 s so far, about 173 s left"
    assert re.fullmatch(rf"{LINE}{told}\n", capsys.readouterr().out)


def test_summaries_stand_at_the_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    log.say_last("at once")
    assert capsys.readouterr().out == "at once\n"
    log.show_summaries()
    monkeypatch.setenv(log.SUMMARIES, "")  # given back after the test
    (tmp_path / "old.txt").write_text("of another run")
    log.collect_summaries(tmp_path)
    log.say_last("first\ntable")
    log.say_last("second")
    assert capsys.readouterr().out == ""
    log.show_summaries()
    assert capsys.readouterr().out == "\nfirst\ntable\n\nsecond\n"
