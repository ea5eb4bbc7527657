"""Every stage on a disk that is full or read-only: one line, no half files, and all goes on once there is room."""

import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import tiny
from helpers import ROOT

NAMESPACE = ["unshare", "--map-root-user", "--mount"]
pytestmark = [pytest.mark.faults, pytest.mark.timeout(1200)]


def can_mount() -> bool:
    try:
        return not subprocess.run([*NAMESPACE, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True).returncode
    except FileNotFoundError:
        return False


needs_mount = pytest.mark.skipif(not can_mount(), reason="needs mount namespaces: unshare --map-root-user --mount")


def on_small_disk(disk: Path, whole: Path, job: tiny.Job | None) -> dict[str, Any]:
    command = [*NAMESPACE, sys.executable, str(ROOT / "tests/faults/small_disk.py"), str(disk)]
    request = json.dumps({"source": str(whole), "job": job})
    done = subprocess.run([*command, request], env=tiny.environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def told(whole: Path, jobs: list[tiny.Job], tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What each job said and left behind on its own small disk."""

    # One job of a rule is enough.
    chosen = {job.rule: job for job in jobs}
    with ThreadPoolExecutor(tiny.AT_ONCE) as pool:
        seen = pool.map(lambda job: on_small_disk(tmp_path_factory.mktemp("disk"), whole, job), chosen.values())
        return dict(zip(chosen, seen, strict=True))


@needs_mount
@pytest.mark.parametrize("rule", tiny.ORDER)
@pytest.mark.parametrize("fault", ["read-only", "full", "full on the way"])
def test_a_stage_without_room_ends_in_one_line(told: dict[str, Any], rule: str, fault: str) -> None:
    seen = told[rule][fault]
    assert seen["status"] != 0
    told_of = re.findall(
        r"^\d\d:\d\d:\d\d .+?  error: .*", seen["said"], re.MULTILINE
    )  # `tee` has its own words where the log's disk is full
    assert ["free space or choose a writable folder" in line for line in told_of] == [True], seen["said"]
    assert seen["said"].count("free space or choose a writable folder") == 1, seen["said"]
    assert "Traceback" not in seen["said"]
    assert seen["torn"] == seen["lost"] == []


@needs_mount
@pytest.mark.parametrize("rule", tiny.ORDER)
def test_with_room_again_the_results_are_the_same(told: dict[str, Any], rule: str) -> None:
    assert told[rule]["with room again"]["status"] == 0, told[rule]["with room again"]["said"]
    assert told[rule]["differ"] == []
    assert told[rule]["twice"] == []


@needs_mount
def test_snakemake_without_room_goes_on_when_unlocked(whole: Path, tmp_path: Path) -> None:
    seen = on_small_disk(tmp_path, whole, None)
    assert [status != 0 for status in seen["statuses"]] == [True, False, True, False, False], seen["said"]
    assert seen["same"]


def test_an_output_folder_closed_to_the_user_is_one_line(whole: Path, jobs: list[tiny.Job], tmp_path: Path) -> None:
    # Without its capabilities root is held to mode bits as everybody is.
    ordinary = [] if os.getuid() else ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--"]
    if ordinary and not shutil.which("setpriv"):
        pytest.skip("as root this needs setpriv (util-linux)")
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    (job,) = (job for job in jobs if job.rule == "score_rollouts")
    tiny.remove(folder, *job.outputs)
    closed = folder / job.outputs[0]
    command = [*ordinary, "bash", "-c", f"set -euo pipefail; {job.command}"]
    closed.parent.chmod(0o555)
    done = subprocess.run(command, cwd=folder, env=tiny.environment(), capture_output=True, text=True)
    closed.parent.chmod(0o755)
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert said.count("error: ") == 1, said
    assert "Permission denied; free space or choose a writable folder" in said
    assert "Traceback" not in said
    assert tiny.start(job, folder).wait() == 0
    assert closed.read_bytes() == (whole / job.outputs[0]).read_bytes()
