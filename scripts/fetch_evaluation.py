"""Fetch one evaluation set: what every model is asked.

    python -m scripts.fetch_evaluation --params '{"set": "platinum", "source": {...}, "task": {"verifier": "number", ...}}' \
        --output data/demo/questions/eval/platinum.jsonl --summary data/demo/questions/eval/platinum.json

Record: {"id": "eval-00017", "question": "...", "answer": "rationale\n#### 18", "gold_answer": "18"}, `answer` where the data
has a rationale, `options` where it is a choice.
"""

import argparse
import logging
from pathlib import Path

from regime_w.questions.rows import load, plain
from regime_w.runtime.errors import run
from regime_w.runtime.records import from_argument
from regime_w.runtime.seals import write_jsonl, write_record
from regime_w.tasks.verifiers import open_verifier

log = logging.getLogger(__name__)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", type=from_argument, required=True, help="set, source, task")
    for name in ("output", "summary"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    args = parser.parse_args()
    name, task = args.params["set"], args.params["task"]

    records, told = load(f"questions.eval.{name}", args.params["source"], open_verifier(task), "eval")
    write_jsonl(args.output, map(plain, records))
    write_record(args.summary, told | {"verifier": task["verifier"]})
    bad, doubles = told["bad_rows"], told["doubles"]
    log.info(
        f"{name}: {len(records)} evaluation questions; {bad['count']} bad rows passed over {bad['by_reason'] or ''}".rstrip()
    )
    if any(doubles.values()):
        log.info(
            f"{name}: texts that stand in it again: {', '.join(f'{count} {kind}' for kind, count in doubles.items())}"
        )


if __name__ == "__main__":
    run(main)
