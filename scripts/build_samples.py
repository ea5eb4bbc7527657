"""Take the policy's own correct trajectories out of the rollouts, to fine-tune on, in TRL's prompt-completion format.

    python -m scripts.build_samples --params '{"rejection_sampling": {...}, "styles": {...}, "template": "...", "seed": 42}' \
        --rollouts data/demo/round1/rollouts.jsonl \
        --output data/demo/round1/samples.jsonl --summary data/demo/round1/samples.json

Record: {"prompt", "completion", "id", "arm", "style", "tokens"}. The prompt is that of the trajectory's style
(`train_prompt: arm`) or has no instruction (`canonical`).
"""

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

from scripts.build_preferences import prompt
from scripts.errors import UserError, run
from scripts.records import read_jsonl, write_json, write_jsonl
from scripts.regime_w.pairs import unanimous_not_gold
from scripts.regime_w.samples import REASONS, build_samples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", type=json.loads, required=True, help="rejection_sampling, styles, template, seed")
    parser.add_argument("--rollouts", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--summary", type=Path, required=True)
    args = parser.parse_args()

    rows = read_jsonl(args.rollouts, required=("id", "question", "gold_answer", "trajectories"))
    samples, report = build(rows, args.params)
    if not samples:
        raise UserError(
            f"no correct trajectory in {len(rows)} questions; train SFT longer, raise generate.max_new_tokens, "
            "or ask easier questions"
        )
    write_jsonl(args.output, samples)
    write_json(args.summary, report)
    print(f"Saved {report['kept']} of {report['correct']} correct trajectories to: {args.output}")
    print(f"Questions with a sample: {report['questions_with_samples']} of {report['questions']}")
    print("dropped: " + ", ".join(f"{name} {count}" for name, count in report["dropped"].items()))


def build(rows: list[dict[str, Any]], params: dict[str, Any]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The samples of all questions in their order, and the counts for samples.json: correct = kept + dropped."""
    samples: list[dict[str, Any]] = []
    dropped: Counter[str] = Counter()
    for row in rows:
        found, left_out = build_samples(row, params["rejection_sampling"], params["seed"])
        samples += ({"prompt": prompt(each, row["question"], params, "rejection_sampling"), **each} for each in found)
        dropped += left_out
    return samples, {
        "questions": len(rows),
        "questions_with_samples": len({sample["id"] for sample in samples}),
        "correct": len(samples) + dropped.total(),
        "kept": len(samples),
        "dropped": {name: dropped[name] for name in REASONS},
        "tokens_mean": round(sum(sample["tokens"] for sample in samples) / len(samples), 1) if samples else None,
        "unanimous_not_gold": [row["id"] for row in rows if unanimous_not_gold(row)],
    }


if __name__ == "__main__":
    run(main)
