"""How often the questions of an evaluation set have been read: who looks at them again and again chooses by them, too.

A reading is what was answered to a set's questions by the models of one report, whichever run they are of. Each is a file
`FOLDER/{hash of questions and gold answers}/{hash of the answers}.json`, so the same report made again is no other reading.
"""

from collections.abc import Mapping
from pathlib import Path

from regime_w.runtime.records import fingerprint, iter_jsonl, sha256_file, write_json


def note_readings(evaluations: Mapping[str, Mapping[str, Path]], folder: Path, run: str) -> dict[str, int]:
    """Note a report's readings, answers by set and model; how many of each set's questions stand in the folder then."""
    return {name: _note(files, folder, run) for name, files in evaluations.items()}


def _note(files: Mapping[str, Path], folder: Path, run: str) -> int:
    asked = sorted([row["question"], row["gold_answer"]] for row in iter_jsonl(next(iter(files.values()))))
    answers = fingerprint(sorted(map(sha256_file, files.values())))
    readings = folder / fingerprint(asked)
    write_json(readings / f"{answers}.json", {"run": run, "models": list(files)})
    return len(list(readings.glob("[!.]*.json")))
