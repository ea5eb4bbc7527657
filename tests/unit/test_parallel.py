"""Work over processes: the order of the tasks, errors, killed processes; parts of a file; equal bytes for any number."""

import json
import os
import signal
import time
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from helpers import stage, tool
from hypothesis import given
from hypothesis import strategies as st

from regime_w.runtime.errors import UserError
from regime_w.runtime.parallel import AHEAD, in_order
from regime_w.runtime.records import lines_of, ranges, scan_jsonl


def late_if_even(offset: int, task: int) -> int:
    time.sleep(0.02 * (task % 2 == 0))
    return task + offset


def fail_at_five(_: None, task: int) -> int:
    if task == 5:
        raise UserError("five is wrong")
    return task


def kill_itself(_: None, task: int) -> int:
    if task == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return task


@pytest.mark.parametrize("processes", [1, 3])
def test_results_come_in_the_order_of_the_tasks(processes: int) -> None:
    assert list(in_order(late_if_even, range(20), processes, 100)) == list(range(100, 120))


@pytest.mark.parametrize("processes", [1, 3])
def test_errors_reach_the_caller(processes: int) -> None:
    results = in_order(fail_at_five, range(100), processes, None)
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(UserError, match="five is wrong"):
        next(results)


def test_a_killed_process_is_told() -> None:
    with pytest.raises(UserError, match="was killed"):
        list(in_order(kill_itself, range(10), 2, None))


def test_tasks_are_taken_as_results_are() -> None:
    taken = []
    results = in_order(late_if_even, (taken.append(n) or n for n in count()), 2, 0)
    next(results)
    assert len(taken) <= 2 * AHEAD + 1
    results.close()


@given(
    lines=st.lists(st.binary(max_size=12).map(lambda b: b.replace(b"\n", b" "))),
    size=st.integers(1, 9),
    end=st.booleans(),
)
def test_parts_of_a_file_hold_each_line_once(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], size: int, end: bool
) -> None:
    path = tmp_path_factory.mktemp("parts") / "file"
    content = b"\n".join(lines) + (b"\n" if end else b"")
    path.write_bytes(content)
    found = [place for part in ranges(path, size) for place in lines_of(path, part)]
    assert b"".join(line for _, line in found) == content
    assert found == list(lines_of(path))
    assert all(content[start : start + len(line)] == line for start, line in found)


def test_a_bad_line_is_numbered_in_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"id": 1}\n\n{"id": 2}\n{"no": 3}\n{"id": 4}\n')
    with pytest.raises(UserError, match=r"rows\.jsonl:4: field 'id' is missing"):
        [row for part in ranges(path, 8) for _, row in scan_jsonl(path, ["id"], part)]


def test_stages_write_the_same_bytes_for_any_number_of_processes(tmp_path: Path) -> None:
    done = tool("made_rollouts", "--questions", 450, "--shards", 3, "--output", tmp_path)
    assert done.returncode == 0, done.stderr
    params: dict[str, Any] = json.loads((tmp_path / "params.json").read_text())
    # So that coherence pairs come up, and more than may stay.
    params["build_preferences"]["pairs"] |= {"min_margin": 0.001, "coherence_share": 0.02}
    completions = sorted((tmp_path / "completions").glob("*.jsonl"))
    found: dict[int, list[bytes]] = {}
    for processes in (1, 3):
        out = tmp_path / str(processes)
        files = [out / name for name in ("rollouts.jsonl", "check.json", "preferences.jsonl", "preferences.json")]
        for name, arguments in (
            (
                "score_rollouts",
                ["--completions", *completions, "--questions", tmp_path / "train.jsonl", "--output", files[0]],
            ),
            ("check_rollouts", ["--rollouts", files[0], "--output", files[1]]),
            ("build_preferences", ["--rollouts", files[0], "--output", files[2], "--summary", files[3]]),
        ):
            done = stage(
                name, "--params", json.dumps(params[name]), *arguments, env={"OMP_NUM_THREADS": str(processes)}
            )
            assert done.returncode == 0, done.stderr
        found[processes] = [file.read_bytes() for file in files]
    assert found[1] == found[3]
    rollouts, check, _, summary = found[1]
    assert rollouts.count(b"\n") == json.loads(check)["questions"] == 450
    report = json.loads(summary)
    assert 0 < report["kept_by_type"]["coherence"] <= 0.02 * report["kept"]
    assert report["dropped"]["coherence_share"] > 0
    assert report["questions"] == report["questions_with_pairs"] + sum(report["no_pair_reasons"].values())
