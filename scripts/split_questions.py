"""Take the training questions that SFT, or a round's rollouts, are made of.

    python -m scripts.split_questions --params '{"use": "rollouts", "part": "all", "skip": 1000, "n": 2000}' \
        --questions data/demo/questions/train.jsonl --output data/demo/questions/round1.jsonl

`part` is all, sft or rollouts; `n: null` takes all of it.
"""

import argparse
import logging
from pathlib import Path

from regime_w.questions.parts import take
from regime_w.runtime.errors import run
from regime_w.runtime.records import from_argument, read_jsonl
from regime_w.runtime.seals import check, write_jsonl

log = logging.getLogger(__name__)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", type=from_argument, required=True, help="use, part, skip, n")
    parser.add_argument("--questions", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    train = check(args.questions)
    there = read_jsonl(args.questions, ("id", "question"))
    rows = take(there, args.params, args.questions)
    write_jsonl(args.output, rows, {"train": train.sha256})
    bare = sum("answer" not in row for row in there) if args.params["use"] == "sft" else 0
    lacking = f"; {bare} of all have no rationale to learn" if bare else ""
    log.info(f"{len(rows)} questions of part {args.params['part']} for {args.params['use']} -> {args.output}{lacking}")


if __name__ == "__main__":
    run(main)
