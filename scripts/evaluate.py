"""Have models answer every evaluation question greedily and k times by sampling, and grade the answers.

    python -m scripts.evaluate --params '{...}' --models checkpoints/demo/base/manifest.json \
        --questions data/demo/eval.jsonl --outputs data/demo/eval/base.jsonl --gpus 1

Several models, with an output each, are answered one after the other by one engine, which changes its weights; a model
that differs in more than weights gets a new engine. A model's journal stands beside its output, base.journal here.

Record: {"id", "question", "gold_answer", "style", "greedy": OUT, "samples": [OUT x k]} with
OUT = {"text", "answer", "correct", "extraction", "num_tokens", "thinking_tokens", "answer_start", "finish_reason", "seed"}; of
a reasoning model's text the first `answer_start` characters are its thought, and only what follows is graded.
"""

import argparse
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from regime_w.models.folders import alike
from regime_w.models.manifests import HashedFolder
from regime_w.runtime.errors import UserError, run
from regime_w.runtime.records import read_jsonl, write_jsonl
from regime_w.sampling.collect import Ask, Setup, collect, load_prompts, seed_of, start_engine
from regime_w.sampling.engines.interface import CannotSwitch, Completion
from regime_w.sampling.rollouts import answered
from regime_w.tasks.answers import equal, extract
from regime_w.tasks.prompts import Prompts
from regime_w.tasks.thinking import said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", type=json.loads, required=True, help="evaluate, engine, prompt, stop, styles, seed")
    parser.add_argument("--models", type=Path, nargs="+", required=True, help="their manifests")
    parser.add_argument("--questions", type=Path, required=True)
    parser.add_argument("--outputs", type=Path, nargs="+", required=True, help="NAME.jsonl of each model, by its name")
    parser.add_argument("--gpus", type=int, default=0)
    args = parser.parse_args()
    if len(args.models) != len(args.outputs):
        parser.error(f"{len(args.models)} --models and {len(args.outputs)} --outputs")
    params, settings = args.params, args.params["evaluate"]
    if settings["batch_invariant"] and args.gpus:
        os.environ["VLLM_BATCH_INVARIANT"] = "1"

    models = [HashedFolder(path) for path in args.models]
    questions = read_jsonl(args.questions, required=("id", "question", "gold_answer"))
    if settings["n_questions"]:
        if len(questions) < settings["n_questions"]:
            raise UserError(f"evaluate.n_questions is {settings['n_questions']}, {args.questions} has {len(questions)}")
        questions = questions[: settings["n_questions"]]
    waiting = [setup_of(model, output, params, args.gpus) for model, output in zip(models, args.outputs, strict=True)]
    outputs = {output.stem: output for output in args.outputs}
    while waiting:
        first = waiting[0]
        with start_engine(first) as started:
            prompts = load_prompts(first, params)
            asks, styles = make_asks(questions, params, prompts)
            while waiting and (waiting[0] is first or one_engine_serves(first, waiting[0])):
                try:
                    completions = collect(asks, waiting[0], started, prompts.stops)
                except CannotSwitch as error:
                    print(f"{error}; starting another engine", flush=True)
                    break
                save(outputs[waiting[0].name], questions, styles, asks, completions, prompts)
                del waiting[0]


def one_engine_serves(first: Setup, other: Setup) -> bool:
    with other.model.suspected():
        return alike(first.model.folder, other.model.folder, first.engine)


def setup_of(model: HashedFolder, output: Path, params: dict[str, Any], gpus: int) -> Setup:
    settings = params["evaluate"]
    return Setup(
        model=model,
        sampling={"top_p": settings["top_p"], "max_new_tokens": settings["max_new_tokens"], "stop": params["stop"]},
        engine=params["engine"],
        gpus=gpus,
        seed=params["seed"],
        journal=output.with_suffix(".journal"),
        name=output.stem,
        label=f"Evaluating {output.stem}",
        per_item=1 + settings["k"],
    )


def save(
    output: Path,
    questions: list[dict[str, Any]],
    styles: list[str],
    asks: list[Ask],
    completions: list[Completion],
    prompts: Prompts,
) -> None:
    """Grade and write a model's answers, of each question the greedy one first."""
    rows, width = [], len(asks) // len(questions)
    for number, question in enumerate(questions):
        own = slice(number * width, (number + 1) * width)
        outs = [
            grade(answered(completion, styles[number], prompts), ask.seed, question["gold_answer"])
            for completion, ask in zip(completions[own], asks[own], strict=True)
        ]
        rows.append(
            {
                "id": question["id"],
                "question": question["question"],
                "gold_answer": question["gold_answer"],
                "style": styles[number],
                "greedy": outs[0],
                "samples": outs[1:],
            }
        )
    write_jsonl(output, rows)
    greedy = sum(row["greedy"]["correct"] for row in rows) / len(rows)
    mean = sum(out["correct"] for row in rows for out in row["samples"]) / (len(rows) * (width - 1))
    print(f"{output.stem}: greedy {greedy:.2%}, mean of {width - 1} {mean:.2%} on {len(rows)} questions -> {output}")


def make_asks(questions: list[dict[str, Any]], params: dict[str, Any], prompts: Prompts) -> tuple[list[Ask], list[str]]:
    """One greedy ask and k sampled ones a question, and each question's style (by hash of its id)."""
    settings, asks, styles = params["evaluate"], [], []
    for question in questions:
        choices = settings["styles"]
        style = choices[int(hashlib.sha256(question["id"].encode()).hexdigest()[:8], 16) % len(choices)]
        styles.append(style)
        ids = prompts.ask(question["question"], style).ids
        asks.append(Ask(question["id"], ids, 0.0, 0))
        # The same seeds for every model: pairing them takes the sampling noise they share out of the difference.
        seeds = [seed_of(params["seed"], question["id"], "evaluate", sample) for sample in range(settings["k"])]
        asks += [Ask(question["id"], ids, settings["temperature"], seed) for seed in seeds]
    return asks, styles


def grade(out: dict[str, Any], seed: int, gold: str) -> dict[str, Any]:
    """`correct` is strict: the right answer in a marked place of a finished text, whose thought is no part of it."""
    found = extract(said(out["text"], out["answer_start"]))
    marked = found.method not in ("fallback", "none")
    return {
        **out,
        "answer": found.answer,
        "correct": marked and out["finish_reason"] == "stop" and equal(found.answer, gold),
        "extraction": found.method,
        "seed": seed,
    }


if __name__ == "__main__":
    run(main)
