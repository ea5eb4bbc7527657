"""Begin round 1 with another tool's preference pairs: checked and copied, with where they are from.

    python -m scripts.import_preferences --params '{"preferences": "pairs.jsonl", "format": "chat"}' \
        --output data/demo/round1/preferences.jsonl --summary data/demo/round1/preferences.json \
        --questions data/demo/questions/round1.jsonl

The file has TRL's preference format, standard or conversational, as JSONL, JSON or Parquet, or is a folder of a data set.
Record: {"prompt", "chosen", "rejected", "id", "pair_type": "given"}. --questions gets what the prompts ask, which is held
against the evaluation sets.
"""

import argparse
import logging
from pathlib import Path
from typing import Any

from regime_w.questions.imports import asked, pairs
from regime_w.questions.rows import described
from regime_w.runtime.errors import UserError, run
from regime_w.runtime.records import from_argument, to_line
from regime_w.runtime.seals import new_records, write_jsonl, write_record

log = logging.getLogger(__name__)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", type=from_argument, required=True, help="preferences (file), format (of prompts)")
    for name in ("output", "summary", "questions"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    args = parser.parse_args()
    path = args.params["preferences"]

    rows = kept = 0
    questions: dict[str, dict[str, Any]] = {}
    with new_records(args.output) as file:
        for pair in pairs(path, args.params["format"] == "chat"):
            rows += 1
            question = asked(pair["prompt"])
            questions.setdefault(question, {"id": f"given-{len(questions):05d}", "question": question})
            if pair["chosen"] != pair["rejected"]:
                kept += 1
                file.write(to_line(pair))
        if not kept:
            raise UserError(f"{path}: no pair whose sides differ, in {rows} rows (start.preferences)")
    write_jsonl(args.questions, questions.values())
    summary = {
        "questions": len(questions),
        "questions_with_pairs": len(questions),
        "candidates": rows,
        "kept": kept,
        "kept_by_type": {"given": kept},
        "dropped": {"identical": rows - kept},
        "unanimous_not_gold": [],
        "taken_from": described({"source": "file", "path": path}),
    }
    write_record(args.summary, summary)
    log.info(f"{kept} of {rows} pairs from {path} -> {args.output}; identical: {rows - kept}")


if __name__ == "__main__":
    run(main)
