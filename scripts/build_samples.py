"""Take the policy's own correct trajectories out of the rollouts, to fine-tune on, in TRL's prompt-completion format.

    python -m scripts.build_samples --params '{"rejection_sampling": {...}, "prompt": {...}, "styles": {...}, "seed": 42}' \
        --rollouts data/demo/round1/rollouts.jsonl --policy checkpoints/demo/sft_merged \
        --output data/demo/round1/samples.jsonl --summary data/demo/round1/samples.json

Record: {"prompt", "completion", "completion_ids", "id", "arm", "style", "tokens", "question", "prompt_style"}. The ids are
what was sampled. The prompt is that of the trajectory's style
(`train_prompt: arm`) or has no instruction (`canonical`).
"""

import argparse
import logging
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from regime_w.method.draws import over_total, turn
from regime_w.method.samples import REASONS, build_samples
from regime_w.method.votes import unanimous_not_gold
from regime_w.models.folders import trusted
from regime_w.runtime.errors import UserError, run
from regime_w.runtime.records import from_argument, iter_jsonl, to_line
from regime_w.runtime.seals import check, new_records, write_record
from regime_w.tasks.prompts import Form, text_forms
from regime_w.training.preferences import ROW, with_prompt

log = logging.getLogger(__name__)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", type=from_argument, required=True, help="rejection_sampling, prompt, styles, seed")
    parser.add_argument("--rollouts", type=Path, required=True)
    parser.add_argument("--policy", type=Path, help="its chat template makes the prompts of the chat format")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--summary", type=Path, required=True)
    args = parser.parse_args()

    if args.params["prompt"]["format"] == "chat" and not args.policy:
        parser.error("prompt.format chat needs --policy")
    forms = text_forms(args.params, args.policy, trusted(args.params))
    report = build(args.rollouts, args.params, forms, args.output)
    write_record(args.summary, report)
    log.info(f"Saved {report['kept']} of {report['correct']} correct trajectories to: {args.output}")
    log.info(f"Questions with a sample: {report['questions_with_samples']} of {report['questions']}")
    log.info("dropped: " + ", ".join(f"{name} {count}" for name, count in report["dropped"].items()))


def build(rollouts: Path, params: dict[str, Any], forms: dict[str, Form], output: Path) -> dict[str, Any]:
    """Write the samples of all questions in their order; returns the counts for samples.json: correct = kept + dropped.

    UserError where there is none.
    """
    settings, seed = params["rejection_sampling"], params["seed"]
    dropped = Counter[str]()
    made: list[tuple[int, int]] = []  # question and draw of each sample, see over_total
    tokens: list[int] = []
    unanimous = []
    questions = 0
    source = check(rollouts)
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=output.parent) as all_samples:
        for row in iter_jsonl(rollouts, ROW):
            samples, left_out = build_samples(row, settings, seed)
            for sample in samples:
                all_samples.write(to_line(with_prompt(sample, row["question"], forms, settings)))
                made.append((questions, turn(seed, row["id"])))
                tokens.append(sample["tokens"])
            questions += 1
            dropped += left_out
            if unanimous_not_gold(row):
                unanimous.append(row["id"])
        if not made:
            raise UserError(
                f"no correct trajectory in {questions} questions; train SFT longer, "
                "raise generate.max_new_tokens, or ask easier questions"
            )
        beyond = over_total(made, settings["max_samples"])
        dropped["max_samples"] = len(beyond)
        kept = [index for index in range(len(made)) if index not in beyond]
        all_samples.seek(0)
        with new_records(output, source.made_from | {"rollouts": source.sha256}) as file:
            file.writelines(line for index, line in enumerate(all_samples) if index not in beyond)
    return {
        "questions": questions,
        "questions_with_samples": len({made[index][0] for index in kept}),
        "correct": len(kept) + dropped.total(),
        "kept": len(kept),
        "dropped": {name: dropped[name] for name in REASONS},
        "tokens_mean": round(sum(tokens[index] for index in kept) / len(kept), 1),
        "unanimous_not_gold": unanimous,
    }


if __name__ == "__main__":
    run(main)
