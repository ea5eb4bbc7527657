"""Sample one trajectory an arm for every question of one shard.

    python -m scripts.generate --params '{...}' --model checkpoints/demo/sft_merged/manifest.json \
        --questions data/demo/train.jsonl --round 1 --shard 0-of-2 --journal data/demo/round1/journal \
        --output data/demo/round1/completions/0-of-2.jsonl --gpus 1

Record: {"key": "...", "id": "train-00017", "arm": "wolfram_t02", "style": "wolfram", "temperature": 0.2,
         "seed": 123, "text": "...", "num_tokens": 87, "finish_reason": "stop"}
"""

import argparse
import json
from pathlib import Path
from typing import Any

from scripts.collect import Ask, Setup, collect, load_tokenizer, seed_of, start_engine
from scripts.errors import UserError, run
from scripts.records import HashedFolder, in_part, iter_jsonl, passed_over, shard_of, write_jsonl
from scripts.regime_w.prompts import encode_prompt, render

RULE = "=" * 80


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--params", type=json.loads, required=True, help="generate, engine, arms, styles, template, seed"
    )
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--questions", type=Path, required=True)
    parser.add_argument("--round", type=int, required=True)
    parser.add_argument("--shard", required=True, help="I-of-N, I from 0")
    parser.add_argument(
        "--journal", type=Path, required=True, help="folder of finished trajectories, shared by all shards"
    )
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--gpus", type=int, default=0)
    args = parser.parse_args()
    params, arms = args.params, args.params["arms"]

    model = HashedFolder(args.model)
    questions = select(args.questions, params["generate"], args.round, args.shard)
    print(f"{RULE}\nRegime W rollouts, round {args.round}, shard {args.shard}\n{RULE}\n\nConfiguration:")
    print(f"  Merged model: {model.folder}\n  Data path: {args.questions}\n  Output path: {args.output}")
    print(f"  N samples: {params['generate']['n_samples']}, {len(questions)} in this shard\n  GPUs: {args.gpus}")
    print(f"\n{len(arms)} Regime W arms: {', '.join(arm['name'] for arm in arms)}", flush=True)

    setup = rollout_setup(model, params, args.gpus, args.journal, args.shard)
    with start_engine(setup) as started:
        asks = make_asks(questions, params, args.round, load_tokenizer(setup))
        completions = collect(asks, setup, started)
    rows = []
    for (question, arm), ask, completion in zip(
        ((q, a) for q in questions for a in arms), asks, completions, strict=True
    ):
        rows.append(
            {
                "key": completion.key,
                "id": question["id"],
                "arm": arm["name"],
                "style": arm["style"],
                "temperature": arm["temperature"],
                "seed": ask.seed,
                "text": completion.text,
                "num_tokens": completion.num_tokens,
                "finish_reason": completion.finish_reason,
            }
        )
    write_jsonl(args.output, rows)
    print(f"\n{RULE}\nRollout collection complete!\nSaved Regime W rollouts to: {args.output}")
    print(f"Total rollouts: {len(questions)}\nTrajectories per rollout: {len(arms)}\n{RULE}")


def rollout_setup(model: HashedFolder, params: dict[str, Any], gpus: int, journal: Path, name: str) -> Setup:
    generate = params["generate"]
    return Setup(
        model=model,
        # A policy that was fine-tuned ends its answers itself: no stop texts, so no detokenisation in the engine.
        sampling={"top_p": generate["top_p"], "max_new_tokens": generate["max_new_tokens"], "stop": []},
        engine=params["engine"],
        gpus=gpus,
        seed=params["seed"],
        journal=journal,
        name=name,
        label="Collected",
        per_item=len(params["arms"]),
    )


def select(path: Path, generate: dict[str, Any], round_number: int, shard: str) -> list[dict[str, Any]]:
    """The shard's share of the questions that a round asks. UserError where there are too few."""
    index, count = (int(number) for number in shard.split("-of-"))
    first, wanted, part = passed_over(generate, round_number), generate["n_samples"], generate["part"]
    chosen, there = [], 0
    rows = (row for row in iter_jsonl(path, required=("id", "question")) if in_part(row, part))
    for there, row in enumerate(rows, 1):
        if there > first and shard_of(row["id"], count) == index:
            chosen.append(row)
        if there == first + wanted:
            return chosen
    raise UserError(
        f"generate.n_samples asks for {wanted} questions after the first {first}, {path} has {there} of part {part}; "
        "lower it or generate.skip"
    )


def make_asks(questions: list[dict[str, Any]], params: dict[str, Any], round_number: int, tokenizer: Any) -> list[Ask]:
    """One ask an arm and question; arms of one style stand side by side and share the prompt's cached prefix."""
    asks = []
    for question in questions:
        prompts: dict[str, tuple[str, tuple[int, ...]]] = {}
        for arm in params["arms"]:
            if arm["style"] not in prompts:
                prompt = render(params["template"], question["question"], params["styles"].get(arm["style"]))
                prompts[arm["style"]] = prompt, tuple(encode_prompt(tokenizer, prompt))
            seed = seed_of(params["seed"], question["id"], arm["name"], round_number)
            asks.append(Ask(*prompts[arm["style"]], arm["temperature"], seed))
    return asks


if __name__ == "__main__":
    run(main)
