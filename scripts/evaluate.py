"""Have models answer every question of an evaluation set greedily and k times by sampling, and grade the answers.

    python -m scripts.evaluate --params '{...}' --models checkpoints/demo/base \
        --questions data/demo/questions/eval/demo.jsonl --outputs data/demo/answers/demo/base.jsonl --gpus 1

Several models, with an output each, are answered one after the other by one engine, which changes its weights; a model
that differs in more than weights gets a new engine. A model's journal stands beside its output, base.journal here.

Record: {"id", "question", "gold_answer", "style", "greedy": OUT, "samples": [OUT x k]} with
OUT = {"text", "answer", "correct", "extraction", "num_tokens", "thinking_tokens", "answer_start", "finish_reason", "seed"},
with "score" where the verifier gives one and "fault" where it could not tell. Of a reasoning model's text the first
`answer_start` characters are its thought, and only what follows is graded.
"""

import argparse
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from regime_w.models.folders import alike
from regime_w.models.manifests import HashedFolder
from regime_w.questions.parts import style_of
from regime_w.runtime.compute import threads
from regime_w.runtime.errors import UserError, run
from regime_w.runtime.records import from_argument, read_jsonl
from regime_w.runtime.seals import check, write_jsonl
from regime_w.sampling.collect import Ask, Setup, collect, load_prompts, seed_of, start_engine
from regime_w.sampling.engines.interface import CannotSwitch, Completion
from regime_w.sampling.rollouts import answered
from regime_w.tasks.prompts import Prompts
from regime_w.tasks.thinking import said
from regime_w.tasks.verifier import Grade
from regime_w.tasks.verifiers import grade_questions, open_verifier, refuse_if_all_failed

log = logging.getLogger(__name__)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--params", type=from_argument, required=True, help="task, evaluate, engine, prompt, stop, styles, seed"
    )
    parser.add_argument("--models", type=Path, nargs="+", required=True, help="their folders")
    parser.add_argument("--questions", type=Path, required=True)
    parser.add_argument("--outputs", type=Path, nargs="+", required=True, help="NAME.jsonl of each model, by its name")
    parser.add_argument("--gpus", type=int, default=0)
    parser.add_argument(
        "--jobs-per-gpu", type=int, default=1, help="jobs that share the GPU, each with its part of the memory"
    )
    args = parser.parse_args()
    if len(args.models) != len(args.outputs):
        parser.error(f"{len(args.models)} --models and {len(args.outputs)} --outputs")
    params, settings = args.params, args.params["evaluate"]
    params["engine"]["vllm"]["jobs_per_gpu"] = args.jobs_per_gpu
    if settings["batch_invariant"] and args.gpus:
        os.environ["VLLM_BATCH_INVARIANT"] = "1"

    models = [HashedFolder(path) for path in args.models]
    sealed = check(args.questions)
    questions = read_jsonl(args.questions, required=("id", "question", "gold_answer"))
    if settings["n_questions"]:
        if len(questions) < settings["n_questions"]:
            raise UserError(f"evaluate.n_questions is {settings['n_questions']}, {args.questions} has {len(questions)}")
        questions = questions[: settings["n_questions"]]
    golds = read_golds(questions, params["task"])
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
                    log.info(f"{error}; starting another engine")
                    break
                save(
                    outputs[waiting[0].name],
                    {"model": waiting[0].model.fingerprint, "questions": sealed.sha256},
                    params["task"],
                    questions,
                    golds,
                    styles,
                    asks,
                    completions,
                    prompts,
                    started.watchdog.feed,
                )
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


def read_golds(questions: list[dict[str, Any]], task: dict[str, Any]) -> list[str]:
    """The gold answers as the verifier reads them; UserError for one that it cannot, or for a verifier that cannot work."""
    verifier = open_verifier(task)
    verifier.check()
    golds = []
    for question in questions:
        gold = verifier.gold(question["gold_answer"], question)
        if gold is None:
            raise UserError(
                f"question {question['id']}: the verifier {verifier.name} cannot read the gold answer "
                f"{question['gold_answer']!r:.200}; mend or remove it"
            )
        golds.append(gold)
    verifier.close()
    return golds


def save(
    output: Path,
    made_from: dict[str, str],
    task: dict[str, Any],
    questions: list[dict[str, Any]],
    golds: list[str],
    styles: list[str],
    asks: list[Ask],
    completions: list[Completion],
    prompts: Prompts,
    feed: Callable[[], None],
) -> None:
    """Grade and write a model's answers, of each question the greedy one first. `feed` is called as the work goes on."""
    rows, width, faults = [], len(asks) // len(questions), list[str]()
    answers = [answered(completion, styles[place // width], prompts) for place, completion in enumerate(completions)]
    parts = [slice(number * width, (number + 1) * width) for number in range(len(questions))]
    asked = (
        ([said(out["text"], out["answer_start"]) for out in answers[own]], gold, question)
        for own, gold, question in zip(parts, golds, questions, strict=True)
    )
    for number, grades in enumerate(grade_questions(task, asked, threads())):
        own, question = parts[number], questions[number]
        outs = [
            graded(out, ask.seed, grade, scores=open_verifier(task).scores)
            for out, ask, grade in zip(answers[own], asks[own], grades, strict=True)
        ]
        faults += [f"question {question['id']}: {out['fault']}" for out in outs if "fault" in out]
        rows.append(
            {
                "id": question["id"],
                "question": question["question"],
                "gold_answer": golds[number],
                "style": styles[number],
                "greedy": outs[0],
                "samples": outs[1:],
            }
        )
        feed()
    if faults:
        refuse_if_all_failed(len(faults), len(asks), faults[0])
        log.info(
            f"The verifier failed on {len(faults)} of {len(asks)} answers, which are not correct; first: {faults[0]}"
        )
    write_jsonl(output, rows, made_from)
    greedy = sum(row["greedy"]["correct"] for row in rows) / len(rows)
    mean = sum(out["correct"] for row in rows for out in row["samples"]) / (len(rows) * (width - 1))
    log.info(f"{output.stem}: greedy {greedy:.2%}, mean of {width - 1} {mean:.2%} on {len(rows)} questions -> {output}")


def make_asks(questions: list[dict[str, Any]], params: dict[str, Any], prompts: Prompts) -> tuple[list[Ask], list[str]]:
    """One greedy ask and k sampled ones a question, and each question's style (by hash of its id)."""
    settings, asks, styles = params["evaluate"], [], []
    for question in questions:
        choices = settings["styles"]
        style = style_of(question["id"], choices)
        styles.append(style)
        ids = prompts.ask(question["question"], style).ids
        asks.append(Ask(question["id"], ids, 0.0, 0))
        # The same seeds for every model: pairing them takes the sampling noise they share out of the difference.
        seeds = [seed_of(params["seed"], question["id"], "evaluate", sample) for sample in range(settings["k"])]
        asks += [Ask(question["id"], ids, settings["temperature"], seed) for seed in seeds]
    return asks, styles


def graded(out: dict[str, Any], seed: int, grade: Grade, *, scores: bool = False) -> dict[str, Any]:
    """An answer's record. `correct` is strict: right, in a marked place, of a finished text, whose thought is no part of it."""
    ended = out["finish_reason"] == "stop"
    return {
        **out,
        "answer": grade.answer,
        "correct": ended and grade.correct,
        "extraction": grade.method,
        "seed": seed,
        **({"score": grade.score if ended else 0.0} if scores else {}),
        **({"fault": grade.fault} if grade.fault else {}),
    }


if __name__ == "__main__":
    run(main)
