"""Random texts of realistic lengths for the benchmark: questions, and preference pairs.

    python -m scripts.benchmark.benchmark_data --params '{...}' --model checkpoints/benchmark/base/manifest.json \
        --train data/benchmark/train.jsonl --eval data/benchmark/eval.jsonl
    python -m scripts.benchmark.benchmark_data --params '{...}' --model checkpoints/benchmark/base/manifest.json \
        --rollouts data/benchmark/round1/rollouts.jsonl \
        --preferences data/benchmark/round1/preferences.jsonl --summary data/benchmark/round1/preferences.json

A random model answers nothing right, so its rollouts make no pairs. Their texts, answers and lengths are therefore
replaced by random ones, half of them right, and the pipeline's own pair builder picks pairs from those.
"""

import argparse
import json
import random
import tempfile
import time
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from regime_w.models.folders import trusted
from regime_w.runtime.errors import UserError, run
from regime_w.runtime.records import iter_jsonl, read_jsonl, write_json, write_jsonl
from regime_w.sampling.collect import length_of
from regime_w.tasks.prompts import text_forms
from regime_w.training.preferences import ROW, build


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", type=json.loads, required=True)
    parser.add_argument("--model", type=Path, required=True, help="its tokenizer decides how long a text is")
    for option in ("train", "eval", "rollouts", "preferences", "summary"):
        parser.add_argument(f"--{option}", type=Path)
    args = parser.parse_args()
    params = args.params
    words = words_of(args.model.parent)
    if args.rollouts is None:
        for name, path in (("train", args.train), ("eval", args.eval)):
            write_jsonl(path, questions(name, params[name], params["question_tokens"], words, params["seed"]))
        return
    with tempfile.TemporaryDirectory(dir=args.preferences.parent) as folder:
        rollouts, preferences = Path(folder, "rollouts.jsonl"), Path(folder, "preferences.jsonl")
        write_jsonl(rollouts, (marked(row, params, words) for row in iter_jsonl(args.rollouts, ROW)))
        start = time.monotonic()
        summary = build(rollouts, params, text_forms(params, args.model.parent, trusted({})), preferences)
        seconds = time.monotonic() - start
        pairs = read_jsonl(preferences)
    if len(pairs) < params["n"]:
        raise UserError(
            f"benchmark.pairs is {params['n']}, {summary['questions']} questions made {len(pairs)}; lower it"
        )
    write_jsonl(args.preferences, random.Random(params["seed"]).sample(pairs, params["n"]))
    write_json(args.summary, summary | {"build_seconds": seconds, "used": params["n"], "random": True})
    print(f"{params['n']} random pairs; the pair builder took {seconds:.2f} s for {summary['questions']} questions")


def words_of(model: Path) -> list[str]:
    """Words with the space before them that are one token each."""
    vocabulary = sorted(AutoTokenizer.from_pretrained(model, **trusted({})).get_vocab())
    return [" " + token[1:] for token in vocabulary if token.startswith("Ġ") and token[1:].isalpha()]


def text_of(words: list[str], tokens: int, rng: random.Random) -> str:
    return "".join(rng.choices(words, k=tokens)).strip()


def questions(name: str, n: int, tokens: tuple[int, int], words: list[str], seed: int) -> list[dict[str, Any]]:
    """Question records of uniformly drawn length."""
    rng = random.Random(f"{name}-{seed}")
    return [
        {
            "id": f"random-{name}-{number:05d}",
            "question": text_of(words, rng.randint(*tokens), rng) + "?",
            "answer": "#### 7",
            "gold_answer": "7",
        }
        for number in range(n)
    ]


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
