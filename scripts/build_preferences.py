"""Build preference pairs from rollouts, in TRL's format, and count what was kept and dropped.

    python -m scripts.build_preferences --params '{"pairs": {...}, "prompt": {...}, "styles": {...}, "seed": 42}' \
        --rollouts data/demo/round1/rollouts.jsonl --policy checkpoints/demo/sft_merged \
        --output data/demo/round1/preferences.jsonl --summary data/demo/round1/preferences.json

Record: {"prompt", "chosen", "rejected", "id", "pair_type", "chosen_reward", "rejected_reward", "chosen_arm",
"rejected_arm", "chosen_tokens", "rejected_tokens", "chosen_ids", "rejected_ids", "similarity", "style", "question",
"prompt_style"}. The ids are what was sampled. Ids, rewards, tokens and similarity are null in a calculation pair, whose
sides break off behind a sum's result. The prompt is that of the chosen side's style (`train_prompt: arm`) or has no
instruction (`canonical`).
"""

import argparse
import logging
from pathlib import Path

from regime_w.models.folders import trusted
from regime_w.runtime.errors import run
from regime_w.runtime.records import from_argument
from regime_w.runtime.seals import write_record
from regime_w.tasks.prompts import text_forms
from regime_w.training.preferences import build

log = logging.getLogger(__name__)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", type=from_argument, required=True, help="pairs, prompt, styles, seed")
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
    log.info(f"Saved {report['kept']} of {report['candidates']} candidate pairs to: {args.output}")
    log.info(f"Questions with pairs: {report['questions_with_pairs']} of {report['questions']}")
    for title in ("kept_by_type", "dropped", "no_pair_reasons"):
        log.info(f"{title}: " + ", ".join(f"{name} {count}" for name, count in report[title].items()))
    log.info(f"Mean tokens: chosen {report['chosen_tokens_mean']}, rejected {report['rejected_tokens_mean']}")
    log.info(f"All arms agree on another answer than gold: {len(report['unanimous_not_gold'])} questions")


if __name__ == "__main__":
    run(main)
