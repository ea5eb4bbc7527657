"""Numbers of a study: recipes ranked on the held-out questions, tests against baselines and reference, curves, cost.

Every comparison is paired over questions. p values are Holm-adjusted within a family: all recipes against one opponent,
in one metric. The chosen recipe's tests on the evaluation questions are a family of their own.
"""

from typing import Any

from regime_w.method.statistics import holm
from regime_w.report.evaluation import Settings, discordant, outcome
from regime_w.report.format import equals, label, percent, points

METRICS = ("mean", "greedy", "majority", "pass")
Found = dict[str, Any]


def ranking(recipes: list[Found]) -> list[Found]:
    """Recipes by the mean of k of their last model, best first, each with that model's row."""
    rows = [
        {
            "recipe": recipe["recipe"],
            "overlay": recipe["overlay"],
            "method": recipe["method"],
            "rounds": len(recipe["models"]) - 1,
            "row": recipe["models"][-1]["row"],
            "training": recipe["training"],
            "examples": recipe["examples"],
            "files": {model["name"]: model["file"] for model in recipe["models"]},
        }
        for recipe in recipes
    ]
    return sorted(rows, key=lambda row: (-row["row"]["mean"]["value"], row["rounds"], row["recipe"]))


def families(scores: dict[str, Found], opponents: list[str], settings: Settings) -> dict[str, dict[str, Found]]:
    """{opponent: {recipe: {metric: test}}}: every other recipe against each opponent; `scores` by recipe."""
    found: dict[str, dict[str, Found]] = {}
    for opponent in dict.fromkeys(opponents):
        family = {
            name: {metric: _test(own, scores[opponent], metric, settings) for metric in METRICS}
            for name, own in scores.items()
            if name != opponent
        }
        for metric in METRICS:
            tests = [own[metric] for own in family.values()]
            for test, adjusted in zip(tests, holm([test["p"] for test in tests]), strict=True):
                test["p_holm"] = adjusted
                test["outcome"] = outcome(test | {"p": adjusted}, settings.alpha)
        found[opponent] = family
    return found


def _test(ours: Found, theirs: Found, metric: str, settings: Settings) -> Found:
    """Exact McNemar for right or wrong, the paired bootstrap for means; a majority that ties is right by a share."""
    if metric in ("mean", "majority"):
        return settings.difference(ours[metric], theirs[metric])
    return discordant(ours[metric], theirs[metric], settings)


def curves(recipes: list[Found]) -> dict[str, list[Found]]:
    """Accuracy after each round of the recipes that have several: round 0 is SFT."""
    return {
        recipe["recipe"]: [
            {"round": number, **{metric: model["row"][metric] for metric in ("mean", "greedy", "majority")}}
            | {"pass": model["row"]["pass"][str(model["row"]["k"])]}
            for number, model in enumerate(recipe["models"])
        ]
        for recipe in recipes
        if len(recipe["models"]) > 2
    }


def costs(recipes: list[Found], gpu_hour_usd: float) -> dict[str, Any]:
    """Seconds and price of each recipe from the base model on, of what no other recipe shares, and of all together."""
    users: dict[str, int] = {}
    records: dict[str, Found] = {}
    for recipe in recipes:
        for record in recipe["usage"]:
            users[record["file"]] = users.get(record["file"], 0) + 1
            records[record["file"]] = record
    return {
        "gpu_hour_usd": gpu_hour_usd,
        "recipes": {
            recipe["recipe"]: {
                "total": _sum(recipe["usage"], gpu_hour_usd),
                "own": _sum([record for record in recipe["usage"] if users[record["file"]] == 1], gpu_hour_usd),
            }
            for recipe in recipes
        },
        "all": _sum(list(records.values()), gpu_hour_usd),
    }


def _sum(records: list[Found], gpu_hour_usd: float) -> Found:
    total: Found = {key: sum(record[key] for record in records) for key in ("seconds", "gpu_seconds", "cpu_seconds")}
    return total | {"jobs": len(records), "usd": total["gpu_seconds"] / 3600 * gpu_hour_usd}


def verdict(summary: Found) -> Found:
    """What the evaluation questions say of the chosen recipe, and which recipes do harm."""
    chosen, baselines, k = summary["choice"]["chosen"], summary["settings"]["baselines"], summary["settings"]["k"]
    own = summary["evaluation"]["rows"][chosen]
    tests = {name: summary["evaluation"]["tests"][name][chosen] for name in baselines if name != chosen}
    lost = [name for name, found in tests.items() if found["pass"]["outcome"] == "worse"]
    worse = [name for name, found in tests.items() if found["mean"]["outcome"] == "worse"]
    better = [name for name, found in tests.items() if found["mean"]["outcome"] == "better"]
    if worse or lost:
        status, headline = "regression", f"{chosen} is significantly below {' and '.join(dict.fromkeys(worse + lost))}"
    elif chosen in baselines:
        status, headline = "unchanged", f"No recipe is above the baseline {chosen} on the held-out questions"
    elif len(better) == len(tests):
        status, headline = "gain", f"{chosen} is significantly better than {' and '.join(tests)}"
    else:
        same = [name for name in tests if name not in better]
        status, headline = "unchanged", f"{chosen} is not significantly better than {' and '.join(same)}"
    against = "; ".join(
        f"against {name} {points(found['mean']['difference'])} pp of mean of {k} ({equals(found['mean']['p_holm'])}), "
        f"greedy {points(found['greedy']['difference'])} pp ({equals(found['greedy']['p_holm'])}), "
        f"pass@{k} {points(found['pass']['difference'])} pp ({equals(found['pass']['p_holm'])})"
        for name, found in tests.items()
    )
    sentence = (
        f"On {own['n']:,} evaluation questions, which rank no recipe: greedy {percent(own['greedy']['value'])}, mean of {k} "
        f"{percent(own['mean']['value'])}" + (f"; {against}." if against else ".")
    )
    notes = [note for _, note in notes_of(summary)]
    return {"status": status, "headline": headline, "sentence": sentence, "reasons": [], "notes": notes}


def notes_of(summary: Found) -> list[tuple[str, str]]:
    """Recipes that do harm and alarms of training, each after the section of the page that shows the numbers."""
    first = summary["settings"]["baselines"][0]
    harmed = [name for name, found in summary["heldout"]["tests"][first].items() if found["mean"]["outcome"] == "worse"]
    notes = (
        [("tests", f"Significantly below {first} on the held-out questions: {', '.join(harmed)}.")] if harmed else []
    )
    return notes + [
        ("training", f"Training alarm in {label(name)} of {row['recipe']}: {record['alarm']}.")
        for row in summary["heldout"]["ranking"]
        for name, record in row["training"].items()
        if record["alarm"]
    ]
