"""Choose the recipe that is read on the evaluation questions: the best one on the held-out questions.

    python -m scripts.choose_recipe --params '{"chosen": null}' --recipes results/demo/study/*.json --output choice.json

Best is the highest mean of k of the recipe's last model, the mean over its training seeds; among equals the one with fewer
rounds. `chosen` names one instead. Output: {"chosen", "by", "ranking": [{"recipe", "mean", "greedy", "seeds", "rounds"},
...] from the best}.
"""

import argparse
import logging
from pathlib import Path
from statistics import fmean
from typing import Any

from regime_w.runtime.errors import run
from regime_w.runtime.records import from_argument
from regime_w.runtime.seals import read_record, write_record

log = logging.getLogger(__name__)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--params", type=from_argument, required=True, help="chosen: a recipe's name, or null for the best"
    )
    parser.add_argument("--recipes", nargs="+", type=Path, required=True, help="what study_recipe wrote")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    choice = choose([read_record(path) for path in args.recipes], args.params["chosen"])
    write_record(args.output, choice)
    log.info(f"Chosen by {choice['by']}: {choice['chosen']}")


def choose(recipes: list[dict[str, Any]], named: str | None) -> dict[str, Any]:
    """The choice and the ranking that it stands on."""
    seeds: dict[str, list[dict[str, Any]]] = {}
    for recipe in recipes:
        seeds.setdefault(recipe["recipe"], []).append(recipe)
    ranking: list[dict[str, Any]] = []
    for name, own in seeds.items():
        rows = [recipe["models"][-1]["row"] for recipe in own]
        values = {metric: fmean(row[metric]["value"] for row in rows) for metric in ("mean", "greedy")}
        ranking.append({"recipe": name, **values, "seeds": len(own), "rounds": len(own[0]["models"]) - 1})
    ranking.sort(key=lambda entry: (-entry["mean"], entry["rounds"], entry["recipe"]))
    return {
        "chosen": named or ranking[0]["recipe"],
        "by": "the config (study.chosen)" if named else "the highest mean of k on the held-out questions",
        "ranking": ranking,
    }


if __name__ == "__main__":
    run(main)
