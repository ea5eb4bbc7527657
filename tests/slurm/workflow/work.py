"""What a job of the test workflow does: note start, GPUs and end in events.txt, and write its output at the end.

python work.py NAME OUTPUT SECONDS|fail|go        (go: until the file `go` is there)
"""

import os
import sys
import time
from pathlib import Path

from scripts.records import write_text


def note(name: str, event: str) -> None:
    line = f"{name} {event} {time.time():.3f} {os.environ.get('SLURM_JOB_ID')} {os.environ['CUDA_VISIBLE_DEVICES']}\n"
    fd = os.open("events.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(fd, line.encode())
    os.close(fd)


def main() -> None:
    name, output, seconds = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    note(name, "start")
    print(f"{name} is at work", flush=True)
    if seconds == "fail":
        sys.exit("error: this one always fails")
    if seconds == "go":
        while not Path("go").exists():
            time.sleep(0.2)
    else:
        time.sleep(float(seconds))
    write_text(output, name)
    note(name, "end")


main()
