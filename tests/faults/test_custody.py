"""Record files that are damaged, edited, foreign or stale between two stages: one line names the file, nothing is made."""

import importlib
import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny

from regime_w.runtime.adopt import adopt
from regime_w.runtime.errors import run
from regime_w.runtime.seals import check, read_record, seal_of, write_seal

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]
RECORDS = re.compile(rf"(?:data|results|benchmarks)/{tiny.RUN}/[\w./-]+\.jsonl?\b")
DATA = f"data/{tiny.RUN}"
# A rule, a file that it reads, and what the file says that it was made from.
SOURCES = [
    ("check_questions", f"{DATA}/questions/round1.jsonl", "train"),
    ("score_rollouts", f"{DATA}/round1/completions/1-of-2.jsonl", "questions"),
    ("score_rollouts", f"{DATA}/round1/completions/1-of-2.jsonl", "model"),
    ("train_dpo", f"{DATA}/round1/preferences.jsonl", "model"),
    ("eval_report", f"{DATA}/round1/rollouts.jsonl", "model"),
    ("eval_report", f"{DATA}/answers/{tiny.SET}/sft.jsonl", "model"),
    ("eval_report", f"{DATA}/answers/{tiny.SET}/sft.jsonl", "questions"),
]


@pytest.fixture(scope="module")
def folder(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the finished run; what a test damages it mends again."""
    return shutil.copytree(whole, tmp_path_factory.mktemp("custody") / "run")


def words_of(job: tiny.Job) -> list[str]:
    """The job's own command, without the frame: `-m`, its module, its arguments."""
    return shlex.split(job.command.partition(" -- ")[2].partition(" 2>&1 | tee")[0])[1:]


def read_by(job: tiny.Job) -> list[str]:
    """A file of each kind of record file that a job reads."""
    words = [word for word in words_of(job) if word not in job.outputs]
    found = dict.fromkeys(name for word in words for name in RECORDS.findall(word.replace("{0..1}", "0")))
    kinds: dict[str, str] = {}
    for name in found:
        kind = "usage" if name.endswith(".usage.json") else str(Path(name).parent)
        kinds.setdefault(name if "/questions" in kind else f"{kind} {Path(name).suffix}", name)
    return list(kinds.values())


def answer(job: tiny.Job, folder: Path) -> tuple[int, list[str]]:
    """Exit status of a job in a fork of this process, which has its libraries, and the errors that it told."""
    words = words_of(job)
    module = importlib.import_module(words[1])
    said = folder / "said"
    if not (pid := os.fork()):
        status = 1
        try:
            os.chdir(folder)
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
            out = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(out, 1)
            os.dup2(out, 2)
            sys.stdout = sys.stderr = os.fdopen(out, "w")
            sys.argv = words[1:]
            run(module.main)
            status = 0
        except SystemExit as leaving:
            status = leaving.code if isinstance(leaving.code, int) else 1
        finally:
            sys.stdout.flush()
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    lines = said.read_text().splitlines()
    assert not [line for line in lines if "Traceback" in line], lines
    return status, [line for line in lines if "error: " in line]


def refused(job: tiny.Job, folder: Path, path: str) -> str:
    """The one line by which a job that reads a damaged file ends, none of its outputs touched."""
    before = [(folder / output).stat().st_mtime_ns for output in job.outputs]
    status, errors = answer(job, folder)
    assert status == 2, f"{job.name} took {path}"
    assert len(errors) == 1, errors
    assert f"error: {path}: " in errors[0]
    assert f"python -m regime_w.runtime.adopt {path}" in errors[0]
    assert before == [(folder / output).stat().st_mtime_ns for output in job.outputs]
    return errors[0]


def flip(content: bytes) -> bytes:
    """A digit or letter in the middle becomes another: a file of the same form."""
    place = next(place for place in range(len(content) // 2, len(content)) if content[place : place + 1].isalnum())
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


LINES: list[Callable[[bytes], bytes]] = [
    flip,
    lambda content: content[: len(content) // 2],
    lambda content: b"".join(content.splitlines(True)[1:]),
    lambda content: content + content.splitlines(True)[0],
]


def edited(content: bytes) -> bytes:
    """A JSON record with another number or a field more, as an editor leaves it."""
    return json.dumps(json.loads(content) | {"seconds": 1, "questions": 7}, indent=2).encode()


def unsealed(content: bytes) -> bytes:
    return json.dumps({key: value for key, value in json.loads(content).items() if key != "seal"}).encode()


def test_every_stage_refuses_every_kind_of_record_file_that_was_changed(folder: Path, jobs: list[tiny.Job]) -> None:
    told: dict[str, list[str]] = {}
    for job in {job.rule: job for job in jobs}.values():
        for name in read_by(job):
            path, done = folder / name, told.setdefault(job.rule, [])
            whole = path.read_bytes()
            ways = LINES if path.suffix == ".jsonl" else [edited, unsealed]
            path.write_bytes(ways[sum(map(len, told.values())) % len(ways)](whole))
            refused(job, folder, name)
            path.write_bytes(whole)
            done.append(name)
    assert {rule for rule, names in told.items() if names} == set(tiny.ORDER) - {
        "fetch_evaluation", "base_model", "merge_lora"
    }  # fmt: skip
    kinds = {re.sub(r"[0-9]+-of-[0-9]+|base|sft|round1", "*", name) for names in told.values() for name in names}
    for kind in ("completions/*.jsonl", "rollouts.jsonl", "preferences.jsonl", "preferences.json", "heldout.jsonl",
                 "summary.json", "train.json", "evaluation.jsonl", f"answers/{tiny.SET}/*.jsonl", ".usage.json"):  # fmt: skip
        assert any(name.endswith(kind) for name in kinds), kind


def test_a_file_without_its_seal_is_refused(folder: Path, jobs: list[tiny.Job]) -> None:
    name = f"{DATA}/round1/rollouts.jsonl"
    seal = seal_of(folder / name)
    content = seal.read_bytes()
    seal.unlink()
    for rule in ("check_rollouts", "build_preferences"):
        assert "its seal" in refused(next(job for job in jobs if job.rule == rule), folder, name)
    seal.write_bytes(content)


@pytest.mark.parametrize(("rule", "name", "what"), SOURCES)
def test_a_foreign_file_with_its_own_seal_is_refused(
    folder: Path, jobs: list[tiny.Job], rule: str, name: str, what: str
) -> None:
    whole = check(folder / name)
    assert what in whole.made_from
    write_seal(whole._replace(made_from=whole.made_from | {what: "0" * 64}))
    said = refused(next(job for job in jobs if job.rule == rule), folder, name)
    assert "000000000000" in said
    write_seal(whole)
    assert check(folder / name) == whole


def test_an_edit_is_taken_once_it_is_adopted(folder: Path, jobs: list[tiny.Job]) -> None:
    name = f"{DATA}/round1/rollouts.jsonl"
    job = next(job for job in jobs if job.rule == "build_preferences")
    whole: dict[Path, Any] = {path: path.read_bytes() for path in (folder / name, seal_of(folder / name))}
    changed = (folder / name).read_bytes().replace(b" of ", b" from ")
    (folder / name).write_bytes(changed)
    refused(job, folder, name)
    adopt(folder / name)
    assert answer(job, folder) == (0, [])
    assert "its content was adopted by hand" in (folder / "said").read_text()
    pairs = check(folder / f"{DATA}/round1/preferences.jsonl")
    assert pairs.made_from == {"rollouts": check(folder / name).sha256}
    assert read_record(folder / f"{DATA}/round1/preferences.json")["kept"] == pairs.lines
    for path, content in whole.items():
        path.write_bytes(content)
    assert answer(job, folder) == (0, [])
