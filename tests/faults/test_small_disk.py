"""Every stage on a disk that is full or read-only: one line, no half files, and all goes on once there is room."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import tiny
from helpers import ROOT
from test_kills import AT_ONCE

NAMESPACE = ["unshare", "--map-root-user", "--mount"]
pytestmark = [pytest.mark.faults, pytest.mark.timeout(1200)]


def can_mount() -> bool:
    try:
        return not subprocess.run([*NAMESPACE, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True).returncode
    except FileNotFoundError:
        return False


needs_mount = pytest.mark.skipif(not can_mount(), reason="needs mount namespaces: unshare --map-root-user --mount")


@pytest.fixture(scope="module")
def told(whole: Path, jobs: list[tiny.Job], tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What each job said and left behind on its own small disk."""

    def one(job: tiny.Job) -> tuple[str, dict[str, Any]]:
        request = json.dumps({"source": str(whole), "job": job})
        command = [*NAMESPACE, sys.executable, str(ROOT / "tests/faults/small_disk.py")]
        done = subprocess.run([*command, tmp_path_factory.mktemp("disk"), request], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return job.name, json.loads(done.stdout)

    # One job of a rule is enough.
    chosen = {job.rule: job for job in jobs}.values()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return {name.split("/")[-2 if "generate" in name else 0]: seen for name, seen in pool.map(one, chosen)}


@needs_mount
@pytest.mark.parametrize("rule", tiny.ORDER)
@pytest.mark.parametrize("fault", ["read-only", "full", "full on the way"])
def test_a_stage_without_room_ends_in_one_line(told: dict[str, Any], rule: str, fault: str) -> None:
    seen = told[rule][fault]
    assert seen["status"] != 0
    assert seen["said"].count("error: ") == 1, seen["said"]
    assert "free space or choose a writable folder" in seen["said"]
    assert "Traceback" not in seen["said"]
    assert seen["torn"] == seen["lost"] == []


@needs_mount
@pytest.mark.parametrize("rule", tiny.ORDER)
def test_with_room_again_the_results_are_the_same(told: dict[str, Any], rule: str) -> None:
    assert told[rule]["with room again"]["status"] == 0, told[rule]["with room again"]["said"]
    assert told[rule]["differ"] == []
    assert told[rule]["twice"] == []
