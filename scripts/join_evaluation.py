"""Put the texts of all evaluation sets in one file, which training questions are held against.

    python -m scripts.join_evaluation --sets data/demo/questions/eval/platinum.jsonl data/demo/questions/eval/aqua.jsonl \
        --output data/demo/questions/evaluation.jsonl

Record: {"set": "platinum", "id": "eval-00017", "question": "..."}
"""

import argparse
import logging
from pathlib import Path

from regime_w.runtime.errors import run
from regime_w.runtime.records import iter_jsonl
from regime_w.runtime.seals import check_all, write_jsonl

log = logging.getLogger(__name__)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=Path, nargs="*", default=[], help="SET.jsonl of each set")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    check_all(args.sets)
    rows = [
        {"set": path.stem, "id": row["id"], "question": row["question"]}
        for path in args.sets
        for row in iter_jsonl(path, ("id", "question"))
    ]
    write_jsonl(args.output, rows)
    log.info(f"{len(rows)} texts of {len(args.sets)} evaluation sets -> {args.output}")


if __name__ == "__main__":
    run(main)
