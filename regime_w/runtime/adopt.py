"""Vouch for record files that were edited by hand, so that the stages behind them take them as they are.

    python -m regime_w.runtime.adopt data/demo/round1/rollouts.jsonl results/demo/round1/rollouts_check.json

Each is a .jsonl or .json file of a run; of a run's JSONL files every line must be a JSON object. Its seal
(regime_w/runtime/seals.py) is written anew. What a JSONL file was made from is forgotten with its old content, and its seal
says when it was adopted, which every stage that reads it notes in its log.
"""

import argparse
import logging
from datetime import UTC, datetime
from pathlib import Path

from regime_w.runtime.errors import UserError, run
from regime_w.runtime.records import iter_jsonl, read_json
from regime_w.runtime.seals import measure, seal_of, write_record, write_seal

log = logging.getLogger(__name__)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE")
    args = parser.parse_args()
    for path in args.files:
        log.info(adopt(path))


def adopt(path: Path) -> str:
    """Seal a file as it is; returns a line for the user. UserError where it is no record file."""
    if path.suffix == ".jsonl":
        rows = sum(1 for _ in iter_jsonl(path))
        found = measure(path, datetime.now(UTC).isoformat(timespec="seconds"))
        write_seal(found)
        return f"{path}: {rows} records adopted, sha256 {found.sha256}; {seal_of(path)}"
    content = read_json(path) if path.suffix == ".json" else None
    if not isinstance(content, dict):
        raise UserError(
            f"{path}: no record file of a run, which are .jsonl files and .json files with an object; give one of these"
        )
    content.pop("seal", None)
    write_record(path, content)
    return f"{path}: adopted"


if __name__ == "__main__":
    run(main)
