"""Preference pairs of random text for the benchmark.

    python -m scripts.benchmark.benchmark_pairs --params '{...}' --model checkpoints/benchmark/base \
        --rollouts data/benchmark/round1/rollouts.jsonl \
        --output data/benchmark/round1/preferences.jsonl --summary data/benchmark/round1/preferences.json

A random model answers nothing right, so its rollouts make no pairs. Their texts, answers and lengths are therefore
replaced by random ones, half of them right, and the pipeline's own pair builder picks pairs from those.
"""

import argparse
import logging
import random
import tempfile
import time
from pathlib import Path
from typing import Any

from regime_w.models.folders import trusted
from regime_w.models.random_texts import text_of, words_of
from regime_w.runtime.errors import UserError, run
from regime_w.runtime.records import from_argument, iter_jsonl, read_jsonl
from regime_w.runtime.seals import check, write_jsonl, write_record
from regime_w.sampling.collect import length_of
from regime_w.tasks.prompts import text_forms
from regime_w.training.preferences import ROW, build

log = logging.getLogger(__name__)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--params", type=from_argument, required=True, help="n, lengths, most, seed, and build_preferences'"
    )
    parser.add_argument("--model", type=Path, required=True, help="its tokenizer decides how long a text is")
    parser.add_argument("--rollouts", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--summary", type=Path, required=True)
    args = parser.parse_args()
    check(args.rollouts)
    params, words = args.params, words_of(args.model)
    with tempfile.TemporaryDirectory(dir=args.output.parent) as folder:
        rollouts, preferences = Path(folder, "rollouts.jsonl"), Path(folder, "preferences.jsonl")
        write_jsonl(rollouts, (marked(row, params, words) for row in iter_jsonl(args.rollouts, ROW)))
        start = time.monotonic()
        summary = build(rollouts, params, text_forms(params, args.model, trusted({})), preferences)
        seconds = time.monotonic() - start
        pairs = read_jsonl(preferences)
    if len(pairs) < params["n"]:
        raise UserError(
            f"benchmark.pairs is {params['n']}, {summary['questions']} questions made {len(pairs)}; lower it"
        )
    write_jsonl(args.output, random.Random(params["seed"]).sample(pairs, params["n"]))
    write_record(args.summary, summary | {"build_seconds": seconds, "used": params["n"], "random": True})
    log.info(f"{params['n']} random pairs; the pair builder took {seconds:.2f} s for {summary['questions']} questions")


def marked(row: dict[str, Any], params: dict[str, Any], words: list[str]) -> dict[str, Any]:
    """The rollout with random texts of log-normal length, every other one with the right answer."""
    rng = random.Random(f"{row['id']}-{params['seed']}")
    trajectories = []
    for number, trajectory in enumerate(row["trajectories"]):
        right = number % 2 == 0
        answer = row["gold_answer"] if right else row["gold_answer"] + "1"
        tokens = length_of(f"{row['id']}-{number}", params["lengths"], params["most"])
        text = f"{text_of(words, tokens, rng)}\n#### {answer}"
        trajectories.append(
            trajectory
            | {"full_text": text, "answer": answer, "reasoning": text, "num_tokens": tokens, "extraction": "hash"}
            | {"token_ids": None, "finish_reason": "stop", "correct": right, "reward": float(right)}
        )
    return row | {"trajectories": trajectories}


if __name__ == "__main__":
    run(main)
