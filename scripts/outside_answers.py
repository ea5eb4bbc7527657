"""Have EleutherAI's lm-evaluation-harness answer an evaluation set with a model of ours, and grade it, our prompts in its hands.

    python -m scripts.outside_answers --params '{...}' --model checkpoints/demo/round2/merged \\
        --questions data/demo/questions/eval/generated.jsonl --output data/demo/outside/generated/round2.json --gpus 1

Needs the package lm-eval: `make outside_check` makes an environment that has it. Output: what the harness is, its own
figures, and one record a question (regime_w/sampling/harness.py).
"""

import argparse
import logging
from pathlib import Path

from regime_w.config.harness import TASKS
from regime_w.models.folders import trusted
from regime_w.models.manifests import HashedFolder
from regime_w.questions.parts import style_of
from regime_w.runtime.errors import UserError, run
from regime_w.runtime.records import from_argument, read_jsonl
from regime_w.runtime.seals import check, write_record
from regime_w.sampling.harness import answer_all, installed
from regime_w.tasks.prompts import prompts_of

log = logging.getLogger(__name__)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--params", type=from_argument, required=True, help="task, evaluate, engine, prompt, stop, styles, limit"
    )
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--questions", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--gpus", type=int, default=0)
    args = parser.parse_args()
    params, settings = args.params, args.params["evaluate"]
    installed()
    if params["task"]["verifier"] not in TASKS:
        raise UserError(
            f"task.verifier is {params['task']['verifier']}: the harness grades {' and '.join(TASKS)} alone"
        )

    model = HashedFolder(args.model)
    check(args.questions)
    questions = read_jsonl(args.questions, required=("id", "question", "gold_answer"))
    asked = [number for number in (settings["n_questions"], params["limit"]) if number]
    questions = questions[: min(asked, default=None)]
    with model.suspected():
        prompts = prompts_of(model.folder, params, trusted(params["engine"]))
    rows = []
    for question in questions:
        prompt = prompts.ask(question["question"], style_of(question["id"], settings["styles"]))
        rows.append(
            {
                "id": question["id"],
                "question": question["question"],
                "prompt": prompt.text,
                "ids": prompt.ids,
                "gold": str(question["gold_answer"]),
            }
        )
    model.verify()
    log.info(f"The harness answers {len(rows)} questions with {model.folder} ...")
    found = answer_all(
        model.folder,
        rows,
        {
            "verifier": params["task"]["verifier"],
            "stop": params["stop"],
            "ends": prompts.tokenizer.batch_decode([[number] for number in prompts.stops]),
            "end_ids": prompts.stops,
            "max_new_tokens": settings["max_new_tokens"],
            "batch_size": params["engine"]["transformers"]["batch_size"],
            "trust": trusted(params["engine"]),
        },
        args.gpus,
    )
    write_record(args.output, {"model": model.fingerprint, "verifier": params["task"]["verifier"], **found})
    figures = ", ".join(f"{name} {share:.2%}" for name, share in found["figures"].items())
    log.info(f"The harness finds {figures} on {len(rows)} questions -> {args.output}")


if __name__ == "__main__":
    run(main)
