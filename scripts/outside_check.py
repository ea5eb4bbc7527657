"""Our figures beside those of EleutherAI's lm-evaluation-harness, question by question, and why they differ.

    python -m scripts.outside_check --params '{"run": "demo", "checks": [{"set": "generated", "model": "round2", ...}]}' \\
        --ours data/demo/answers/generated/round2.jsonl --theirs data/demo/outside/generated/round2.json \\
        --md results/demo/outside_check.md --json results/demo/outside_check.json

--ours and --theirs: a file of each of the checks, in their order. Needs no lm-eval: outside_answers asked it.
"""

import argparse
import logging
from pathlib import Path

from regime_w.report.outside import compare, page, terminal
from regime_w.runtime.errors import run
from regime_w.runtime.log import say_last
from regime_w.runtime.records import from_argument, read_jsonl, write_json, write_text
from regime_w.runtime.seals import check, read_record, require_same
from regime_w.tasks.verifiers import open_verifier

log = logging.getLogger(__name__)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", type=from_argument, required=True, help="run; checks: set, model, task")
    parser.add_argument("--ours", type=Path, nargs="+", required=True)
    parser.add_argument("--theirs", type=Path, nargs="+", required=True)
    for option in ("md", "json"):
        parser.add_argument(f"--{option}", type=Path, required=True)
    args = parser.parse_args()

    checks = []
    for asked, ours, theirs in zip(args.params["checks"], args.ours, args.theirs, strict=True):
        answers = read_record(theirs)
        require_same(check(ours), "model", theirs, answers["model"])
        rows = read_jsonl(ours, required=("id", "gold_answer", "greedy"))
        verifier = open_verifier(asked["task"])
        checks.append(compare(asked["set"], asked["model"], rows, answers, verifier))
        verifier.close()
    summary = {"run": args.params["run"], "checks": checks}
    write_text(args.md, page(summary))
    write_json(args.json, summary)
    log.info(f"Outside check: {args.md}")
    say_last(f"{terminal(summary)}\n\nOutside check: {args.md}\n               {args.json}")


if __name__ == "__main__":
    run(main)
