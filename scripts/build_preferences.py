"""Build preference pairs from rollouts, in TRL's format, and count what was kept and dropped.

    python -m scripts.build_preferences --params '{"pairs": {...}, "styles": {...}, "template": "...", "seed": 42}' \
        --rollouts data/demo/round1/rollouts.jsonl \
        --output data/demo/round1/preferences.jsonl --summary data/demo/round1/preferences.json

Record: {"prompt", "chosen", "rejected", "id", "pair_type", "chosen_reward", "rejected_reward", "chosen_arm",
"rejected_arm", "chosen_tokens", "rejected_tokens", "similarity", "style"}. The prompt is that of the chosen side's style
(`train_prompt: arm`) or has no instruction (`canonical`).
"""

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

from scripts.errors import UserError, run
from scripts.progress import Progress
from scripts.records import read_jsonl, write_json, write_jsonl
from scripts.regime_w.pairs import REASONS, build_pairs, cap_coherence_share, no_pair_reason, unanimous_not_gold
from scripts.regime_w.prompts import PLAIN, render


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", type=json.loads, required=True, help="pairs, styles, template, seed")
    parser.add_argument("--rollouts", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--summary", type=Path, required=True)
    args = parser.parse_args()

    rows = read_jsonl(args.rollouts, required=("id", "question", "gold_answer", "trajectories"))
    pairs, dropped = build(rows, args.params)
    report = summarise(rows, pairs, dropped)
    if not pairs:
        raise UserError(no_pairs(report))
    by_id = {row["id"]: row["question"] for row in rows}
    write_jsonl(args.output, ({"prompt": prompt(pair, by_id[pair["id"]], args.params), **pair} for pair in pairs))
    write_json(args.summary, report)
    print(f"Saved {report['kept']} of {report['candidates']} candidate pairs to: {args.output}")
    print(f"Questions with pairs: {report['questions_with_pairs']} of {report['questions']}")
    for title in ("kept_by_type", "dropped", "no_pair_reasons"):
        print(f"{title}: " + ", ".join(f"{name} {count}" for name, count in report[title].items()))
    print(f"Mean tokens: chosen {report['chosen_tokens_mean']}, rejected {report['rejected_tokens_mean']}")
    print(f"All arms agree on another answer than gold: {len(report['unanimous_not_gold'])} questions")


def build(rows: list[dict[str, Any]], params: dict[str, Any]) -> tuple[list[dict[str, Any]], Counter[str]]:
    """The pairs of all questions in their order, coherence pairs capped, and the dropped candidates by reason."""
    pairs: list[dict[str, Any]] = []
    dropped: Counter[str] = Counter()
    progress = Progress(len(rows), "Paired", unit="questions")
    for row in rows:
        found, objections = build_pairs(row, params["pairs"], params["seed"])
        pairs += found
        dropped += objections
        progress.update()
    progress.close()
    pairs, over = cap_coherence_share(pairs, params["pairs"]["coherence_share"])
    dropped["coherence_share"] += over
    return pairs, dropped


def prompt(example: dict[str, Any], question: str, params: dict[str, Any], section: str = "pairs") -> str:
    """The prompt that a pair or sample is trained with, as `train_prompt` of its config section says."""
    style = PLAIN if params[section]["train_prompt"] == "canonical" else example["style"]
    if style not in (PLAIN, *params["styles"]):
        raise UserError(
            f"question {example['id']}: style {style!r} is not under styles; known are {sorted(params['styles'])}"
        )
    return render(params["template"], question, params["styles"].get(style))


def summarise(rows: list[dict[str, Any]], pairs: list[dict[str, Any]], dropped: Counter[str]) -> dict[str, Any]:
    """Counts for preferences.json; candidates = kept + dropped, questions = those with pairs + no_pair_reasons."""
    with_pairs = {pair["id"] for pair in pairs}
    types = Counter(pair["pair_type"] for pair in pairs)
    reasons = Counter(no_pair_reason(row) for row in rows if row["id"] not in with_pairs)
    return {
        "questions": len(rows),
        "questions_with_pairs": len(with_pairs),
        "candidates": len(pairs) + dropped.total(),
        "kept": len(pairs),
        "kept_by_type": {name: types[name] for name in ("correctness", "coherence")},
        "dropped": {name: dropped[name] for name in REASONS},
        "no_pair_reasons": {name: reasons[name] for name in ("all_correct", "all_wrong", "filtered")},
        "chosen_tokens_mean": mean_tokens(pairs, "chosen_tokens"),
        "rejected_tokens_mean": mean_tokens(pairs, "rejected_tokens"),
        "unanimous_not_gold": [row["id"] for row in rows if unanimous_not_gold(row)],
    }


def mean_tokens(pairs: list[dict[str, Any]], side: str) -> float | None:
    return round(sum(pair[side] for pair in pairs) / len(pairs), 1) if pairs else None


def no_pairs(report: dict[str, Any]) -> str:
    """Why there is nothing to train on, and what to do about it."""
    reasons = report["no_pair_reasons"]
    counted = ", ".join(f"{count} {name}" for name, count in report["dropped"].items() if count) or "none dropped"
    most = max(reasons, key=lambda name: reasons[name])
    advice = {
        "all_correct": "ask harder or more questions (generate.n_samples), or raise the arms' temperatures",
        "all_wrong": "the policy solves none: train SFT longer, raise generate.max_new_tokens, or ask easier questions",
        "filtered": "loosen min_margin, max_similarity or max_length_ratio under pairs, or raise generate.max_new_tokens",
    }[most]
    return (
        f"no preference pair from {report['questions']} questions: {reasons['all_correct']} all correct, "
        f"{reasons['all_wrong']} all wrong, {reasons['filtered']} with all candidates dropped; "
        f"{report['candidates']} candidates ({counted}); {advice}"
    )


if __name__ == "__main__":
    run(main)
