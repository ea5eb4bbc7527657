"""How often the questions of an evaluation set have been read: who looks at them again and again chooses by them, too.

A reading is what was answered to a set's questions by the models of one report, whichever run they are of. Each is a line
of `FOLDER/{hash of questions and gold answers}.jsonl`; the same report made again is no other reading.
"""

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path

from regime_w.runtime.records import fingerprint, iter_jsonl, read_jsonl, sha256_file


def note_readings(evaluations: Mapping[str, Mapping[str, Path]], folder: Path, run: str) -> dict[str, int]:
    """Note a report's readings, answers by set and model; how many of each set's questions stand in the folder then."""
    return {name: _note(files, folder, run) for name, files in evaluations.items()}


def _note(files: Mapping[str, Path], folder: Path, run: str) -> int:
    asked = sorted([row["question"], row["gold_answer"]] for row in iter_jsonl(next(iter(files.values()))))
    answers = fingerprint(sorted(map(sha256_file, files.values())))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{fingerprint(asked)}.jsonl"
    with open(path, "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        read = {row["answers"] for row in read_jsonl(path)}
        if answers not in read:
            line = json.dumps({"answers": answers, "run": run, "models": list(files)})
            file.write(line.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    return len(read | {answers})
