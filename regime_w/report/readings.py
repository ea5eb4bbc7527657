"""How often the questions of an evaluation set have been read: who looks at them again and again chooses by them, too.

A reading is what was answered to a set's questions by the models of one report, whichever run they are of. Each is a file
`FOLDER/{hash of questions and gold answers}/{hash of the answers}.json`, so the same report made again is no other reading,
and jobs that note at once do not meet.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from regime_w.runtime.records import fingerprint, iter_jsonl, read_json, sha256_file, write_json

# Those of one set: {"run", "report", "models"} of each.
Readings = list[dict[str, Any]]


def note_readings(
    evaluations: Mapping[str, Mapping[str, Path]], folder: Path, run: str, report: str
) -> dict[str, Readings]:
    """Note a report's readings, answers by set and model; all of each set's that stand in the folder then, by run and report."""
    return {name: _note(files, folder, run, report) for name, files in evaluations.items()}


def _note(files: Mapping[str, Path], folder: Path, run: str, report: str) -> Readings:
    asked = sorted([row["question"], row["gold_answer"]] for row in iter_jsonl(next(iter(files.values()))))
    answers = fingerprint(sorted(map(sha256_file, files.values())))
    readings = folder / fingerprint(asked)
    write_json(readings / f"{answers}.json", {"run": run, "report": report, "models": list(files)})
    # Earlier ones name no report.
    found: Readings = [{"report": "report"} | read_json(file) for file in sorted(readings.glob("[!.]*.json"))]
    return sorted(found, key=lambda reading: (reading["run"], reading["report"], reading["models"]))
