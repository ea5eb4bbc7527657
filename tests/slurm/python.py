"""What jobs of the SLURM tests find as `python`: stages run on the CPU whatever GPUs they are given, and are watched.

The cluster's GPUs are pretended, so a stage must not use CUDA: it is the real one, with `--gpus 0`, on one thread (jobs
are given more CPUs than the machine has). Everything else, the job wrapper with its GPU lease too, runs unchanged.

events.txt   a line a stage when it starts and when it has ended well: output, event, SLURM job, CUDA_VISIBLE_DEVICES
hold.txt     outputs, one a line, whose stage stops after it made 5 trajectories until the line is gone; as many of its
             starts as there are lines
"""

import os
import runpy
import sys
import time
from pathlib import Path

PASSED_ON = ("regime_w.runtime.job", "snakemake")
EVENTS, HOLD = Path("events.txt"), Path("hold.txt")


def main(module: str, arguments: list[str]) -> None:
    from regime_w.sampling import journal

    option = next((option for option in ("--output", "--outputs") if option in arguments), None)
    name = arguments[arguments.index(option) + 1] if option else module
    starts = EVENTS.read_text().count(f"{name} start ") if EVENTS.exists() else 0
    append, journalled = journal.Writer.append, 0

    def append_and_hold(self: journal.Writer, record: dict) -> None:
        nonlocal journalled
        append(self, record)
        journalled += 1
        if journalled == 5:
            self.sync()
            note(name, "held")
            while holds(name):
                time.sleep(0.2)

    if holds(name) > starts:
        journal.Writer.append = append_and_hold
    if "--gpus" in arguments:
        arguments[arguments.index("--gpus") + 1] = "0"
    os.environ["OMP_NUM_THREADS"] = "1"
    sys.argv = [module, *arguments]
    note(name, "start")
    runpy.run_module(module, run_name="__main__", alter_sys=True)
    note(name, "end")


def holds(name: str) -> int:
    return HOLD.read_text().splitlines().count(name) if HOLD.exists() else 0


def note(name: str, event: str) -> None:
    line = f"{name} {event} {time.time():.3f} {os.environ.get('SLURM_JOB_ID')} {os.environ.get('CUDA_VISIBLE_DEVICES', '')}\n"
    fd = os.open(EVENTS, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(fd, line.encode())
    os.close(fd)


if len(sys.argv) > 2 and sys.argv[1] == "-m" and sys.argv[2].startswith("scripts.") and sys.argv[2] not in PASSED_ON:
    sys.path[0] = ""
    main(sys.argv[2], sys.argv[3:])
else:
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
