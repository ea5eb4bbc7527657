"""Questions of random text for the benchmark.

    python -m scripts.benchmark.benchmark_questions --params '{...}' --model checkpoints/benchmark/base \
        --train data/benchmark/train.jsonl --eval data/benchmark/eval.jsonl
"""

import argparse
import logging
import random
from pathlib import Path
from typing import Any

from regime_w.models.random_texts import text_of, words_of
from regime_w.runtime.errors import run
from regime_w.runtime.records import from_argument
from regime_w.runtime.seals import write_jsonl

log = logging.getLogger(__name__)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--params", type=from_argument, required=True, help="train, eval (how many), question_tokens, seed"
    )
    parser.add_argument("--model", type=Path, required=True, help="its tokenizer decides how long a text is")
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--eval", type=Path, required=True)
    args = parser.parse_args()
    params, words = args.params, words_of(args.model)
    for name, path in (("train", args.train), ("eval", args.eval)):
        write_jsonl(path, questions(name, params[name], params["question_tokens"], words, params["seed"]))
    log.info(f"{params['train']} and {params['eval']} random questions")


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


if __name__ == "__main__":
    run(main)
