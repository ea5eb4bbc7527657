"""One recipe of a study: what its models answered on the held-out questions, what they trained on, what that took.

    python -m scripts.study_recipe --params '{"recipe": "beta_02", "overlay": {...}, ...}' \
        --evaluations sft=data/demo/heldout/sft.jsonl round1=data/demo/study/1f0c2a9b77/heldout/round1.jsonl \
        --training round1=checkpoints/demo/study/1f0c2a9b77/round1/dpo_lora/training.json \
        --examples round1=data/demo/round1/preferences.json --usage benchmarks/demo/*.usage.json --output beta_02.json

Output: {"recipe", "overlay", "method", "ids", "models": [{"name", "row", "scores", "file"}], "training", "examples", "usage"},
`row` as in eval_report.json, `scores` a value a question in the order of `ids`, the last model the recipe's own.
"""

import argparse
from pathlib import Path
from typing import Any

from regime_w.report import evaluation, stages
from regime_w.report.inputs import named_files, read_evaluations
from regime_w.report.summary import plain
from regime_w.runtime.errors import run
from regime_w.runtime.records import from_argument, read_json, write_json

COUNTS = ("kept", "kept_by_type", "correct", "questions", "questions_with_pairs", "questions_with_samples")
USED = ("stage", "seconds", "gpu_seconds", "cpu_seconds")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--params", type=from_argument, required=True, help="recipe, overlay, method, level, n_boot, seed"
    )
    parser.add_argument("--evaluations", nargs="+", required=True, metavar="MODEL=FILE", help="the SFT model first")
    parser.add_argument("--training", nargs="*", default=[], metavar="ROUND=FILE", help="training.json of each round")
    parser.add_argument(
        "--examples", nargs="*", default=[], metavar="ROUND=FILE", help="preferences.json, samples.json"
    )
    parser.add_argument("--usage", nargs="+", type=Path, default=[], help="usage records of all stages")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    params = args.params

    files = named_files(args.evaluations, "--evaluations")
    answered = read_evaluations(files)
    settings = evaluation.Settings(params["level"], params["n_boot"], params["seed"])
    trainings = {
        name: stages.training(read_json(path)) for name, path in named_files(args.training, "--training").items()
    }
    record: dict[str, Any] = {
        **{key: params[key] for key in ("recipe", "overlay", "method")},
        "ids": [row["id"] for row in next(iter(answered.values()))],
        "models": [
            {
                "name": name,
                "file": str(files[name]),
                "row": evaluation.model_row(name, rows, settings),
                "scores": evaluation.scores(rows),
            }
            for name, rows in answered.items()
        ],
        "training": {
            name: {key: found.get(key) for key in ("examples", "steps", "seconds", "alarm", "first", "last")}
            for name, found in trainings.items()
        },
        "examples": {
            name: {key: value for key, value in read_json(path).items() if key in COUNTS}
            for name, path in named_files(args.examples, "--examples").items()
        },
        "usage": [{"file": str(path)} | {key: read_json(path)[key] for key in USED} for path in args.usage],
    }
    write_json(args.output, plain(record))
    last = record["models"][-1]["row"]
    print(
        f"{params['recipe']}: greedy {last['greedy']['value']:.2%}, mean of {last['k']} {last['mean']['value']:.2%} on "
        f"{last['n']} held-out questions"
    )


if __name__ == "__main__":
    run(main)
