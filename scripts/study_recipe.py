"""One recipe of a study: what its models answered on the held-out questions, what they trained on, what that took.

    python -m scripts.study_recipe --params '{"recipe": "beta_02", "overlay": {...}, ...}' \
        --inputs '{"evaluations": {"sft": "data/demo/heldout/sft.jsonl", ...}, ...}' --output beta_02.json

--inputs: files and folders by what they are: evaluations of each model, the SFT model first; each round's adapters (folders)
and examples (preferences.json, samples.json); usage records of all stages.

Output: {"recipe", "seed", "overlay", "method", "ids", "models": [{"name", "row", "scores", "file"}], "training", "examples",
"usage"}, `seed` is which training of the recipe, from 1, `row` as in eval_report.json, `scores` a value a question in the
order of `ids`, the last model the recipe's own.
"""

import argparse
import logging
from pathlib import Path
from typing import Any

from regime_w.models.manifests import listed
from regime_w.report import evaluation, stages
from regime_w.report.inputs import given, read_evaluations
from regime_w.report.summary import plain
from regime_w.runtime.errors import run
from regime_w.runtime.records import from_argument, read_json
from regime_w.runtime.seals import read_record, write_record

log = logging.getLogger(__name__)

COUNTS = ("kept", "kept_by_type", "correct", "questions", "questions_with_pairs", "questions_with_samples")
USED = ("stage", "seconds", "gpu_seconds", "cpu_seconds")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--params",
        type=from_argument,
        required=True,
        help="recipe, seed_number (which training of it), overlay, method, level, n_boot, seed",
    )
    parser.add_argument("--inputs", type=from_argument, required=True, help="JSON, or @FILE; see above")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    params = args.params

    found = given(args.inputs, ("evaluations", "adapters", "examples", "usage"), ["evaluations"])
    files = found["evaluations"]
    answered = read_evaluations(files)
    settings = evaluation.Settings(params["level"], params["n_boot"], params["seed"])
    trainings = {
        name: stages.training(read_json(listed(folder, "training.json")))
        for name, folder in found.get("adapters", {}).items()
    }
    record: dict[str, Any] = {
        **{key: params[key] for key in ("recipe", "overlay", "method")},
        "seed": params["seed_number"],
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
            name: {key: training.get(key) for key in ("examples", "steps", "seconds", "alarm", "first", "last")}
            for name, training in trainings.items()
        },
        "examples": {
            name: {key: value for key, value in read_record(path).items() if key in COUNTS}
            for name, path in found.get("examples", {}).items()
        },
        "usage": [
            {"file": str(path), **{key: record[key] for key in USED}}
            for path in found.get("usage", [])
            for record in [read_record(path)]
        ],
    }
    write_record(args.output, plain(record))
    last = record["models"][-1]["row"]
    log.info(
        f"{params['recipe']}: greedy {last['greedy']['value']:.2%}, mean of {last['k']} {last['mean']['value']:.2%} on "
        f"{last['n']} held-out questions"
    )


if __name__ == "__main__":
    run(main)
