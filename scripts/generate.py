"""Sample one trajectory an arm for every question of one shard.

    python -m scripts.generate --params '{...}' --model checkpoints/demo/sft_merged \
        --questions data/demo/questions/round1.jsonl --round 1 --shard 0-of-2 --journal data/demo/round1/journal \
        --output data/demo/round1/completions/0-of-2.jsonl --gpus 1

Record: {"key": "...", "id": "train-00017", "arm": "wolfram_t02", "style": "wolfram", "temperature": 0.2,
         "seed": 123, "text": "...", "num_tokens": 87, "thinking_tokens": 0, "answer_start": 0,
         "finish_reason": "stop", "token_ids": [...]}
The ids are what was sampled, the id that ended it included; the text has special tokens but for that one. Of a reasoning
model's text the first `answer_start` characters are its thought.
"""

import argparse
import logging
from pathlib import Path

from regime_w.models.manifests import HashedFolder
from regime_w.runtime.errors import run
from regime_w.runtime.records import from_argument
from regime_w.runtime.seals import check, write_jsonl
from regime_w.sampling.collect import collect, load_prompts, start_engine
from regime_w.sampling.rollouts import answered, make_asks, rollout_setup, select

log = logging.getLogger(__name__)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--params", type=from_argument, required=True, help="generate, engine, arms, prompt, styles, seed"
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
    parser.add_argument(
        "--jobs-per-gpu", type=int, default=1, help="jobs that share the GPU, each with its part of the memory"
    )
    args = parser.parse_args()
    params, arms = args.params, args.params["arms"]
    params["engine"]["vllm"]["jobs_per_gpu"] = args.jobs_per_gpu

    model = HashedFolder(args.model)
    sealed = check(args.questions)
    questions = select(args.questions, args.shard)
    log.info(f"Regime W rollouts, round {args.round}, shard {args.shard}\nConfiguration:")
    log.info(f"  Merged model: {model.folder}\n  Data path: {args.questions}\n  Output path: {args.output}")
    log.info(f"  Questions: {len(questions)} in this shard\n  GPUs: {args.gpus}")
    log.info(f"{len(arms)} Regime W arms: {', '.join(arm['name'] for arm in arms)}")

    setup = rollout_setup(model, params, args.gpus, args.journal, args.shard)
    with start_engine(setup) as started:
        prompts = load_prompts(setup, params)
        asks = make_asks(questions, params, args.round, prompts)
        completions = collect(asks, setup, started, prompts.stops)
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
                **answered(completion, arm["style"], prompts),
                "token_ids": completion.token_ids,
            }
        )
    write_jsonl(args.output, rows, {"model": model.fingerprint, "questions": sealed.sha256})
    log.info(f"Rollout collection complete!\nSaved Regime W rollouts to: {args.output}")
    log.info(f"Total rollouts: {len(questions)}\nTrajectories per rollout: {len(arms)}")


if __name__ == "__main__":
    run(main)
