"""Begin round 1 with another tool's trajectories: checked, and put where our own would stand, to be scored as those are.

    python -m scripts.import_rollouts --params '{"rollouts": "work.jsonl", "arms": [...], "task": {...}, "prompt": {...}, ...}' \
        --policy checkpoints/demo/base --questions data/demo/questions/round1.jsonl \
        --completions data/demo/round1/completions/given.jsonl --summary data/demo/round1/given.json

The file has a row a question, {"question", "gold_answer", "trajectories": [{"full_text"}, ...]}, with a trajectory for each of
`arms`, as JSONL, JSON or Parquet. `finish_reason`, `token_ids`, `arm` and `id` are taken over where they are there.
Whether an answer is right, coherence and reward are worked out here as for our own (scripts/score_rollouts.py).
"""

import argparse
import logging
from pathlib import Path
from typing import Any

from regime_w.models.folders import trusted
from regime_w.models.manifests import load_manifest
from regime_w.questions.imports import rollouts
from regime_w.questions.rows import described
from regime_w.runtime.errors import UserError, run
from regime_w.runtime.records import from_argument, to_line
from regime_w.runtime.seals import new_records, write_jsonl, write_record
from regime_w.tasks.prompts import prompts_of
from regime_w.tasks.verifiers import open_verifier

log = logging.getLogger(__name__)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--params",
        type=from_argument,
        required=True,
        help="rollouts (file), arms, task, prompt, styles, seed, without_gold",
    )
    parser.add_argument(
        "--policy", type=Path, required=True, help="its tokenizer gives the token ids that are trained on"
    )
    for name in ("questions", "completions", "summary"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    args = parser.parse_args()
    params, path = args.params, args.params["rollouts"]

    folder, _ = load_manifest(args.policy)
    prompts = prompts_of(folder, params, trusted(params))
    questions: dict[str, dict[str, Any]] = {}
    with new_records(args.completions) as file:
        verifier, without_gold = open_verifier(params["task"]), params.get("without_gold", False)
        for question, completions in rollouts(path, params["arms"], verifier, prompts, without_gold):
            if question["id"] in questions:
                raise UserError(f"{path}: the id {question['id']!r:.80} stands twice; ids must differ (start.rollouts)")
            questions[question["id"]] = question
            file.writelines(map(to_line, completions))
        if not questions:
            raise UserError(f"{path}: no rollouts in it (start.rollouts)")
    write_jsonl(args.questions, questions.values())
    summary = {
        "questions": len(questions),
        "trajectories": len(questions) * len(params["arms"]),
        "taken_from": described({"source": "file", "path": path}),
    }
    write_record(args.summary, summary)
    log.info(f"{summary['trajectories']} trajectories of {len(questions)} questions from {path} -> {args.completions}")


if __name__ == "__main__":
    run(main)
