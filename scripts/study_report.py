"""The study's report: recipes ranked on held-out questions, the chosen one and the baselines on the evaluation questions.

    python -m scripts.study_report --params '{"run": "demo", "baselines": ["sft"], "reference": "dpo", ...}' \
        --config '{...}' --inputs '{"recipes": [...], "evaluations": {"demo": {"sft": "data/demo/answers/demo/sft.jsonl"}}, ...}' \
        --html study_report.html --md study_report.md --json study_report.json

--inputs: files by what they are.
    questions      questions/summary.json
    recipes        what study_recipe wrote
    choice         what choose_recipe wrote
    evaluations    answers of the last model of the baselines and of the chosen recipe, {SET: {RECIPE: FILE}}; of a further
                   training seed RECIPE.seedN
    rollouts       the reference recipe's by round, for what coherence tells of correctness and for labels that look wrong
"""

import argparse
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from regime_w.report import evaluation, rollouts, study
from regime_w.report.format import of_seed
from regime_w.report.inputs import given, read_evaluations
from regime_w.report.page_study import page, top
from regime_w.report.provenance import provenance
from regime_w.report.readings import Readings, note_readings
from regime_w.report.render import clean, fill
from regime_w.report.summary import ROLLOUT, plain
from regime_w.runtime.errors import UserError, run
from regime_w.runtime.log import say_last
from regime_w.runtime.records import from_argument, iter_jsonl, write_json, write_text
from regime_w.runtime.seals import check_all, read_record

log = logging.getLogger(__name__)

INPUTS = ("questions", "recipes", "choice", "evaluations", "rollouts")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--params",
        type=from_argument,
        required=True,
        help="run, baselines, reference, level, n_boot, seed, gpu_hour_usd, temperature",
    )
    parser.add_argument("--config", type=from_argument, required=True, help="the run's whole configuration")
    parser.add_argument("--inputs", type=from_argument, required=True, help="JSON, or @FILE; see above")
    for option in ("html", "md", "json"):
        parser.add_argument(f"--{option}", type=Path, required=True)
    parser.add_argument("--readings", type=Path, help="folder in which the readings of evaluation sets are counted")
    args = parser.parse_args()

    found = given(args.inputs, INPUTS, INPUTS[:-1])
    summary = summarise(
        args.params,
        recipes=found["recipes"],
        choice=found["choice"],
        questions=found["questions"],
        evaluations=found["evaluations"],
        rollouts_=found.get("rollouts", {}),
        config=args.config,
        note=partial(note_readings, found["evaluations"], args.readings, args.params["run"], "study_report")
        if args.readings
        else None,
    )
    html, md = fill(summary, page(summary), top(summary))
    write_text(args.html, html)
    write_text(args.md, md)
    write_json(args.json, summary)
    verdict = summary["verdict"]
    said = [verdict["headline"], verdict["sentence"], *verdict["notes"], "", f"Report: {args.html}"]
    log.info(f"Report: {args.html}")
    say_last(clean("\n".join([*said, f"        {args.md}\n        {args.json}"])))


def summarise(
    params: dict[str, Any],
    *,
    recipes: list[Path],
    choice: Path,
    questions: Path,
    evaluations: dict[str, dict[str, Path]],
    rollouts_: dict[str, Path],
    config: dict[str, Any],
    note: Callable[[], dict[str, Readings]] | None,
) -> dict[str, Any]:
    """All numbers of the report as one plain dict."""
    check_all(rollouts_.values())
    settings = evaluation.Settings(params["level"], params["n_boot"], params["seed"])
    records = [read_record(path) for path in recipes]
    for record, path in zip(records, recipes, strict=True):
        if record["ids"] != records[0]["ids"]:
            raise UserError(f"{path}: other held-out questions than {recipes[0]}; run evaluate again for both")
    opponents = list(dict.fromkeys([*params["baselines"], params["reference"]]))
    grouped = study.by_recipe(records)
    heldout = {name: [own["models"][-1]["scores"] for own in seeds] for name, seeds in grouped.items()}
    counted = read_record(questions)
    sets = {
        name: on_set(files, counted.get("eval", {}).get(name, {}), params["baselines"], settings)
        for name, files in evaluations.items()
    }
    (primary, answered), *others = sets.items()
    first = records[0]["models"][0]["row"]
    inputs = {"questions": questions, "choice": choice}
    inputs |= {f"recipe {path.stem}": path for path in recipes}
    inputs |= {
        f"evaluation {name}/{recipe}": path for name, files in evaluations.items() for recipe, path in files.items()
    }
    inputs |= {f"rollouts {name}": path for name, path in rollouts_.items()}
    summary: dict[str, Any] = {
        "run": params["run"],
        "title": "Study of training recipes",
        "readings": note() if note else {},
        "settings": {
            "baselines": params["baselines"],
            "reference": params["reference"],
            "level": settings.level,
            "alpha": settings.alpha,
            "n_boot": settings.n_boot,
            "seed": settings.seed,
            "k": next(iter(answered["rows"].values()))["k"],
            "heldout_k": first["k"],
            "heldout_questions": first["n"],
            "seeds": max(map(len, grouped.values())),
            "temperature": params["temperature"],
        },
        "choice": read_record(choice),
        "heldout": {
            "ranking": study.ranking(grouped, settings),
            "tests": study.families(heldout, opponents, settings),
            "curves": study.curves(grouped, settings),
        },
        "set": primary,
        "evaluation": answered,
        "other_sets": dict(others),
        "costs": study.costs(grouped, params["gpu_hour_usd"]),
        "rollouts": {
            name: found
            for name, path in rollouts_.items()
            if (found := rollouts.summarise(iter_jsonl(path, ROLLOUT), settings))
        },
        "questions": counted,
        "provenance": provenance(inputs, {}, config),
    }
    summary["verdict"] = study.verdict(summary)
    return plain(summary)


def on_set(
    files: dict[str, Path], told: dict[str, Any], baselines: list[str], settings: evaluation.Settings
) -> dict[str, Any]:
    """What recipes' last models, of every seed, answered on one evaluation set, against the baselines."""
    left_out = told.get("left_out", [])
    recipes: dict[str, list[dict[str, Any]]] = {}
    for name, rows in read_evaluations(files, left_out).items():
        recipe, _ = of_seed(name)
        own = {"row": evaluation.model_row(recipe, rows, settings), "scores": evaluation.scores(rows)}
        recipes.setdefault(recipe, []).append(own)
    scores = {recipe: [own["scores"] for own in seeds] for recipe, seeds in recipes.items()}
    return {
        "left_out": len(left_out),
        "rows": {recipe: study.over_seeds(seeds, settings) for recipe, seeds in recipes.items()},
        "tests": study.families(scores, baselines, settings),
    }


if __name__ == "__main__":
    run(main)
