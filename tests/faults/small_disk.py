"""Run one job of a finished run on a small disk of its own: read-only, full at two moments, then with room again.

    unshare --map-root-user --mount python tests/faults/small_disk.py FOLDER '{"source": "...", "job": [...]}'

Without a job: Snakemake itself, which is to make the scored rollouts again.

The disk is a tmpfs in a mount namespace, gone with this process. Prints what happened as JSON.
"""

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent.parent)]

import tiny  # noqa: E402 (found by the path above)
from helpers import snakemake  # noqa: E402

DISK_MB = 64
PAGE = 4096


def main() -> None:
    disk, request = Path(sys.argv[1]), json.loads(sys.argv[2])
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", disk], check=True)
    shutil.copytree(request["source"], disk / "run")
    work = whole_workflow if request["job"] is None else one_job
    print(json.dumps(work(disk, Path(request["source"]), request["job"])))


def one_job(disk: Path, whole: Path, fields: list[Any]) -> dict[str, Any]:
    job, folder = tiny.Job(*fields), disk / "run"
    needed = tiny.written(job, folder)
    tiny.remove(folder, *tiny.leftovers(job), *job.outputs, job.log)
    expected, kept = tiny.results(whole), set[str]()
    told: dict[str, Any] = {}
    on_the_way = random.Random(job.name).uniform(0.1, 0.8)
    for fault, share in (("read-only", 0.0), ("full", 0.0), ("full on the way", on_the_way)):
        if fault == "read-only":
            subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
            told[fault] = run(job, folder)
            subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
        else:
            fill(disk, int(share * needed))
            told[fault] = run(job, folder)
            (disk / "filler").unlink()
        told[fault]["torn"] = tiny.torn(job, folder, expected)
        told[fault]["lost"] = sorted(kept - set(tiny.journalled(folder)))
        kept = set(tiny.journalled(folder))
    told["with room again"] = run(job, folder)
    found = tiny.results(folder)
    told["differ"] = sorted(path for path in expected | found if expected.get(path) != found.get(path))
    told["twice"] = [key for key, times in tiny.journalled(folder).items() if times > 1]
    return told


def whole_workflow(disk: Path, whole: Path, _: None) -> dict[str, Any]:
    folder, target = disk / "run", f"data/{tiny.RUN}/round1/rollouts.jsonl"
    tiny.remove(folder, target)
    told: dict[str, Any] = {"statuses": []}
    for free in (0, 16 * PAGE):
        fill(disk, free)
        told["statuses"].append(snakemake(folder, target, *tiny.TARGET[1:]).returncode)
        (disk / "filler").unlink()
        told["statuses"].append(snakemake(folder, "--unlock", *tiny.TARGET).returncode)
    done = snakemake(folder, target, *tiny.TARGET[1:])
    told["statuses"].append(done.returncode)
    told["said"] = done.stdout + done.stderr
    told["same"] = (folder / target).read_bytes() == (whole / target).read_bytes()
    return told


def run(job: tiny.Job, folder: Path) -> dict[str, Any]:
    process = tiny.start(job, folder, subprocess.PIPE)
    said = process.communicate()[0].decode(errors="replace")
    return {"status": process.returncode, "said": said}


def fill(disk: Path, free: int) -> None:
    """Leave `free` bytes of the disk."""
    with open(disk / "filler", "wb") as file:
        seen = os.statvfs(disk)
        os.posix_fallocate(file.fileno(), 0, max(PAGE, seen.f_bavail * seen.f_frsize - free))


if __name__ == "__main__":
    main()
