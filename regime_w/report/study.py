"""Numbers of a study: recipes ranked on the held-out questions, tests against baselines and reference, curves, cost.

Every comparison is paired over questions. p values are Holm-adjusted within a family: all recipes against one opponent,
in one metric. The chosen recipe's tests on the evaluation questions are a family of their own. Where a recipe was trained
with several seeds its numbers are means over them, and a test covers seeds and questions (`hierarchical_means` in
regime_w/method/statistics.py); that of two recipes that were trained once covers questions alone.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from regime_w.method.statistics import hierarchical_means, holm, of_resamples, quantiles
from regime_w.report.evaluation import Settings, discordant, outcome
from regime_w.report.format import equals, label, percent, points

METRICS = ("mean", "greedy", "majority", "pass")
Found = dict[str, Any]
# What a recipe's models answered, one of each seed: {"row", "scores"} as study_recipe wrote them.
Seeds = Sequence[Found]


def by_recipe(records: Sequence[Found]) -> dict[str, list[Found]]:
    """What study_recipe wrote, a list a recipe, its seeds in their order."""
    found: dict[str, list[Found]] = {}
    for record in sorted(records, key=lambda record: int(record["seed"])):
        found.setdefault(record["recipe"], []).append(record)
    return {recipe: found[recipe] for recipe in dict.fromkeys(record["recipe"] for record in records)}


def ranking(recipes: Mapping[str, Seeds], settings: Settings) -> list[Found]:
    """Recipes by the mean of k of their last model, best first, each with that model's row."""
    rows = [
        {
            "recipe": recipe,
            **{key: seeds[0][key] for key in ("overlay", "method")},
            "rounds": len(seeds[0]["models"]) - 1,
            "seeds": len(seeds),
            "row": over_seeds([record["models"][-1] for record in seeds], settings),
            "training": _of_each(seeds, "training"),
            "examples": _of_each(seeds, "examples"),
            "files": _of_each(
                [record | {"files": {m["name"]: m["file"] for m in record["models"]}} for record in seeds], "files"
            ),
        }
        for recipe, seeds in recipes.items()
    ]
    return sorted(rows, key=lambda row: (-row["row"]["mean"]["value"], row["rounds"], row["recipe"]))


def _of_each(seeds: Seeds, key: str) -> Found:
    """{model: value} of a recipe's trainings; of a further seed `round1.seed2`."""
    return {
        name if record["seed"] == 1 else f"{name}.seed{record['seed']}": value
        for record in seeds
        for name, value in record[key].items()
    }


def over_seeds(models: Seeds, settings: Settings) -> Found:
    """A model's row; of several seeds' the means, with intervals over seeds and questions and `sd`, the spread over seeds."""
    rows = [model["row"] for model in models]
    if len(rows) == 1:
        return dict(rows[0])
    first = rows[0]
    found = {metric: _over_seeds([model["scores"][metric] for model in models], settings) for metric in METRICS}
    return {
        **{key: first[key] for key in ("name", "n", "k")},
        "seeds": len(rows),
        **found,
        "pass": {str(first["k"]): found["pass"]},
        "format": {
            kind: {key: float(np.mean([row["format"][kind][key] for row in rows])) for key in FORMAT}
            for kind in ("greedy", "sampled")
        },
    }


FORMAT = ("well_formed", "fallback", "no_answer", "truncated", "wrong_sum", "tokens_mean")


def _over_seeds(scores: Sequence[Sequence[float]], settings: Settings) -> Found:
    values = np.mean(scores, axis=1)
    low, high = quantiles(hierarchical_means([scores], settings.n_boot, settings.seed)[0], settings.level)
    return {
        "value": float(values.mean()),
        "low": low,
        "high": high,
        "sd": float(values.std(ddof=1)),
        "by_seed": values.tolist(),
    }


def spread(ranked: Sequence[Found], metric: str) -> float | None:
    """Standard deviation over training seeds, pooled over the recipes that have several; None where none has."""
    found = [(row["seeds"] - 1, row["row"][metric]["sd"]) for row in ranked if row["seeds"] > 1]
    degrees = sum(own for own, _ in found)
    return float(np.sqrt(sum(own * sd**2 for own, sd in found) / degrees)) if degrees else None


def families(scores: Mapping[str, Seeds], opponents: list[str], settings: Settings) -> dict[str, dict[str, Found]]:
    """{opponent: {recipe: {metric: test}}}: every other recipe against each opponent; `scores` by recipe, of each seed."""
    resampled: dict[str, Found] = {}
    if any(len(seeds) > 1 for seeds in scores.values()):
        for metric in METRICS:
            groups = [[own[metric] for own in seeds] for seeds in scores.values()]
            resampled[metric] = dict(
                zip(scores, hierarchical_means(groups, settings.n_boot, settings.seed), strict=True)
            )

    def test(name: str, opponent: str, metric: str) -> Found:
        ours, theirs = ([own[metric] for own in scores[which]] for which in (name, opponent))
        if len(ours) == len(theirs) == 1:
            return _of_questions(ours[0], theirs[0], metric, settings)
        resamples = resampled[metric][name] - resampled[metric][opponent]
        found = of_resamples(float(np.mean(ours) - np.mean(theirs)), resamples, settings.level)
        return {"difference": found.diff, "low": found.lo, "high": found.hi, "p": found.p}

    found: dict[str, dict[str, Found]] = {}
    for opponent in dict.fromkeys(opponents):
        family = {
            name: {metric: test(name, opponent, metric) for metric in METRICS} for name in scores if name != opponent
        }
        for metric in METRICS:
            tests = [own[metric] for own in family.values()]
            for each, adjusted in zip(tests, holm([each["p"] for each in tests]), strict=True):
                each["p_holm"] = adjusted
                each["outcome"] = outcome(each | {"p": adjusted}, settings.alpha)
        found[opponent] = family
    return found


def _of_questions(ours: Sequence[float], theirs: Sequence[float], metric: str, settings: Settings) -> Found:
    """Exact McNemar for right or wrong, the paired bootstrap for means; a majority that ties is right by a share."""
    if metric in ("mean", "majority"):
        return settings.difference(ours, theirs)
    return discordant([int(own) for own in ours], [int(own) for own in theirs], settings)


def curves(recipes: Mapping[str, Seeds], settings: Settings) -> dict[str, list[Found]]:
    """Accuracy after each round of the recipes that have several: round 0 is SFT."""
    found = {}
    for recipe, seeds in recipes.items():
        rounds = [over_seeds(models, settings) for models in zip(*(own["models"] for own in seeds), strict=True)]
        if len(rounds) > 2:
            found[recipe] = [
                {"round": number, **{metric: row[metric] for metric in ("mean", "greedy", "majority")}}
                | {"pass": row["pass"][str(row["k"])]}
                for number, row in enumerate(rounds)
            ]
    return found


def costs(recipes: Mapping[str, Seeds], gpu_hour_usd: float) -> dict[str, Any]:
    """Seconds and price of each recipe, of all its seeds, from the base model on, of what no other recipe shares, and of all
    together."""
    used = {name: {row["file"]: row for own in seeds for row in own["usage"]} for name, seeds in recipes.items()}
    users: dict[str, int] = {}
    records: dict[str, Found] = {}
    for own in used.values():
        for file, record in own.items():
            users[file] = users.get(file, 0) + 1
            records[file] = record
    return {
        "gpu_hour_usd": gpu_hour_usd,
        "recipes": {
            name: {
                "total": _sum(list(own.values()), gpu_hour_usd),
                "own": _sum([record for file, record in own.items() if users[file] == 1], gpu_hour_usd),
            }
            for name, own in used.items()
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
    seeds = f", mean of {own['seeds']} training seeds" if own.get("seeds", 1) > 1 else ""
    times = len(summary["readings"].get(summary["set"], []))
    read = f" and were read {'once' if times == 1 else f'{times:,} times'} in this folder" if times else ""
    sentence = (
        f"On {own['n']:,} evaluation questions, which rank no recipe{read}{seeds}: "
        f"greedy {percent(own['greedy']['value'])}, mean of {k} "
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
