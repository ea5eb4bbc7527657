"""The study's report as sections of blocks (see blocks.py)."""

from collections.abc import Callable, Iterable
from typing import Any

from regime_w.report import figures, page_top
from regime_w.report.blocks import Block, as_yaml, cell, difference, estimate, figure, table, text, title
from regime_w.report.format import NONE, dollars, duration, equals, label, number, p_value, percent, points
from regime_w.report.page_models import OUTCOMES, times_read
from regime_w.report.page_rounds import coherence, label_suspects
from regime_w.report.page_run import provenance
from regime_w.report.study import notes_of, spread

MOST_NAMED = 8  # recipes, at first sight
METRICS = {"mean": "mean of {k}", "greedy": "greedy", "majority": "majority of {k}", "pass": "pass@{k}"}


def page(summary: dict[str, Any]) -> list[dict[str, Any]]:
    makers: list[tuple[str, str, Callable[[dict[str, Any]], Iterable[Block]]]] = [
        ("overview", "Evaluation questions", evaluation),
        ("ranking", "Ranking on held-out questions", ranking),
        ("tests", "Tests on held-out questions", tests),
        ("curves", "Learning curves", curves),
        ("training", "Training", training),
        ("coherence", "Coherence", coherence),
        ("labels", "Labels", labels),
        ("cost", "Cost", cost),
        ("recipes", "Recipes", recipes),
        ("provenance", "Provenance", provenance),
    ]
    made = [{"id": identity, "title": title, "blocks": list(make(summary))} for identity, title, make in makers]
    return [section for section in made if section["blocks"]]


def top(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """The cards at first sight, as on a run's report."""
    return page_top.cards(_trained(summary), _helped(summary), _cost(summary), [page_top.looks(_looks(summary))])


def _trained(summary: dict[str, Any]) -> Iterable[Block]:
    settings, ranked = summary["settings"], summary["heldout"]["ranking"]
    sets = {summary["set"]: summary["evaluation"], **summary["other_sets"]}
    asked = " and ".join(f"{next(iter(own['rows'].values()))['n']:,} questions of {name}" for name, own in sets.items())
    rows = [
        ("model", page_top.base_model(summary)),
        ("questions", page_top.questions(summary["questions"])),
        ("recipes", f"{len(ranked)}: {', '.join(row['recipe'] for row in ranked[:MOST_NAMED])}"),
        ("trained", f"{settings['seeds']} times each, from the same rollouts" if settings["seeds"] > 1 else ""),
        ("ranked on", f"{settings['heldout_questions']:,} held-out questions, {settings['heldout_k']} samples each"),
        ("asked", f"the chosen recipe and the baselines alone, {asked}"),
    ]
    if len(ranked) > MOST_NAMED:
        rows[2] = ("recipes", f"{rows[2][1]} and {len(ranked) - MOST_NAMED} more")
    yield page_top.facts([(name, told) for name, told in rows if told])


def _helped(summary: dict[str, Any]) -> Iterable[Block]:
    """The chosen recipe and the baselines on the evaluation questions."""
    found, chosen = summary["evaluation"], summary["choice"]["chosen"]
    rows = []
    for name, row in found["rows"].items():
        test = found["tests"].get(name, {}).get(chosen)
        change = cell(NONE)
        if test:
            mean = test["mean"]
            change = cell(points(mean["difference"]), equals(mean["p_holm"]), mean["outcome"])
        rows.append([cell(name), page_top.barred(row["greedy"]), page_top.barred(row["mean"]), change])
    columns = ["recipe", "greedy", f"mean of {summary['settings']['k']}", "chosen against it"]
    yield table(columns, rows, marked=list(found["rows"]).index(chosen))
    yield text(
        f"Share of right answers with its {percent(summary['settings']['level'], 0)} interval. Chosen: {chosen}; its mean against "
        f"each baseline's in percentage points, significant where Holm's p < {summary['settings']['alpha']:g}."
    )


def _cost(summary: dict[str, Any]) -> Iterable[Block]:
    found = summary["costs"]
    every = found["all"]
    yield page_top.stats([(duration(every["seconds"]), f"summed over {every['jobs']:,} jobs"), *page_top.spent(every)])
    dearest = sorted(found["recipes"].items(), key=lambda entry: -entry[1]["own"]["seconds"])[: page_top.MOST_STAGES]
    rows = [[cell(name), cell(duration(spent["own"]["seconds"]))] for name, spent in dearest]
    yield table(["recipes that add most", "time"], rows, sortable=False)


def _looks(summary: dict[str, Any]) -> list[dict[str, str]]:
    found = [
        page_top.look(note, section, "alarm" if section == "training" else "warn")
        for section, note in notes_of(summary)
    ]
    chosen = summary["choice"]["chosen"]
    for name, own in summary["other_sets"].items():
        for opponent, family in own["tests"].items():
            result = family[chosen]["mean"]["outcome"] if chosen in family else "unchanged"
            if result != "unchanged":
                told = f"On {name}, {chosen} is {OUTCOMES[result]} than {opponent} in mean of k."
                found.append(page_top.look(told, "overview", "warn" if result == "worse" else ""))
    for name, own in summary["rollouts"].items():
        if count := own["label_suspects"]["count"]:
            told = f"On {count:,} of {own['questions']:,} questions of {label(name)} all arms agree on another answer than gold."
            found.append(page_top.look(told, "labels", "warn"))
    found += page_top.often_read(summary["readings"], "overview")
    found.append(page_top.look("Every recipe, the best first.", "ranking"))
    found.append(page_top.look("What each thing is worth: every recipe against the reference.", "tests"))
    return found


def evaluation(summary: dict[str, Any]) -> Iterable[Block]:
    settings, chosen = summary["settings"], summary["choice"]["chosen"]
    for name, found in {summary["set"]: summary["evaluation"], **summary["other_sets"]}.items():
        k = found["rows"][chosen]["k"]
        several = settings["seeds"] > 1
        rows = [
            [cell(recipe), *([_seeds(row)] if several else []), *_accuracy(row)]
            for recipe, row in found["rows"].items()
        ]
        if summary["other_sets"]:
            yield title(name)
        columns = ["recipe", *(["seeds"] if several else []), *_columns(k)]
        yield table(columns, rows, marked=list(found["rows"]).index(chosen))
        yield from _tests(found["tests"], k)
        if found["left_out"]:
            yield text(f"{found['left_out']:,} more questions stand in the training data, too, and are left out.")
    yield text(
        f"Asked of the baselines and the chosen recipe ({chosen}, by {summary['choice']['by']}) alone: these questions rank no "
        f"recipe. {times_read(summary['readings'])}Strict accuracy with {percent(settings['level'], 0)} intervals. Wrong sum: "
        f"samples that write out a sum which does not hold. {_explained(settings)}"
    )


def ranking(summary: dict[str, Any]) -> Iterable[Block]:
    settings, ranked = summary["settings"], summary["heldout"]["ranking"]
    k = settings["heldout_k"]
    names = [row["recipe"] for row in ranked]
    rows = [
        [
            cell(row["recipe"]),
            cell(_what(row)),
            cell(row["rounds"] or NONE),
            *([_seeds(row["row"])] if settings["seeds"] > 1 else []),
            *_accuracy(row["row"]),
            _alarm(row["training"]),
        ]
        for row in ranked
    ]
    columns = [
        "recipe",
        "differs from the run in",
        "rounds",
        *(["seeds"] if settings["seeds"] > 1 else []),
        *_columns(k),
    ]
    columns.append("alarm")
    yield table(columns, rows, left=2, marked=names.index(summary["choice"]["chosen"]))
    yield text(
        f"{settings['heldout_questions']:,} training questions that no recipe trained on, {k} samples each. The first place is "
        f"flattered by having been picked as the best of {len(ranked)}; the evaluation questions are free of that."
    )
    moved, moved_greedy = spread(ranked, "mean"), spread(ranked, "greedy")
    if moved is not None and moved_greedy is not None:
        yield text(
            f"Accuracies are means over training seeds; sd is their spread. The same recipe trained again moves by "
            f"{number(100 * moved, 2)} points of mean of {k} and {number(100 * moved_greedy, 2)} of greedy (standard deviation, "
            f"pooled over recipes)."
        )
    first = settings["baselines"][0]
    family = summary["heldout"]["tests"][first]
    shown = [(name, family[name]["mean"]) for name in names if name in family]
    if shown:
        yield figure(
            figures.forest(shown, "ranking"),
            f"Mean of {k} against {first}, percentage points, with {percent(settings['level'], 0)} intervals (not adjusted)",
            f"Mean of {k} against {first}: "
            + ", ".join(f"{name} {points(test['difference'])}" for name, test in shown),
        )


def tests(summary: dict[str, Any]) -> Iterable[Block]:
    settings = summary["settings"]
    yield from _tests(summary["heldout"]["tests"], settings["heldout_k"])
    yield text(
        f"{_explained(settings)} The reference is {settings['reference']}: recipes are named after the one thing in which they "
        f"differ from it, so that table shows what each thing is worth."
    )


def _tests(families: dict[str, Any], k: int) -> Iterable[Block]:
    for opponent, family in families.items():
        ranked = sorted(family.items(), key=lambda entry: -entry[1]["mean"]["difference"])
        rows = []
        for name, found in ranked:
            own = found["mean"]["outcome"]
            row = [cell(name), cell(OUTCOMES[own], _other_outcomes(found, k), own)]
            for metric in METRICS:
                row += [difference(found[metric]), cell(p_value(found[metric]["p_holm"]))]
            rows.append(row)
        columns = [each for title in METRICS.values() for each in (title.format(k=k), "p")]
        if rows:
            yield table(
                ["recipe", f"mean of {k}", *columns], rows, caption=f"Against {opponent}, percentage points", left=2
            )


def _explained(settings: dict[str, Any]) -> str:
    if settings["seeds"] > 1:
        tested = (
            f"Differences of means over training seeds: hierarchical bootstrap, {settings['n_boot']:,} resamples of seeds and, "
            f"paired, of questions. Two recipes that were trained once: tests over questions alone."
        )
    else:
        tested = (
            f"Differences are paired over questions. Mean and majority: bootstrap, {settings['n_boot']:,} resamples; the others: "
            f"exact McNemar test. Each recipe was trained once: p values cover questions, not what another training seed would "
            f"move (study.seeds)."
        )
    return (
        f"{tested} p values are adjusted for the number of recipes in a table (Holm), in each column; significant means below "
        f"{settings['alpha']:g}. Intervals are not adjusted."
    )


def curves(summary: dict[str, Any]) -> Iterable[Block]:
    found, k = summary["heldout"]["curves"], summary["settings"]["heldout_k"]
    if not found:
        return
    rows = [
        [cell(name), cell(point["round"] or "SFT"), *(estimate(point[metric]) for metric in METRICS)]
        for name, line in found.items()
        for point in line
    ]
    yield table(["recipe", "round", *(title.format(k=k) for title in METRICS.values())], rows, left=2)
    ends = ", ".join(f"{name} {percent(line[-1]['mean']['value'])}" for name, line in found.items())
    yield figure(
        figures.learning_curves(found, "curves"),
        f"Mean of {k} on the held-out questions by round; round 0 is SFT",
        f"Mean of {k} after the last round: {ends}.",
    )


def training(summary: dict[str, Any]) -> Iterable[Block]:
    rows = []
    for row in summary["heldout"]["ranking"]:
        for name, record in row["training"].items():
            counts = row["examples"].get(name, {})
            kinds = ", ".join(
                f"{count:,} {kind}" for kind, count in (counts.get("kept_by_type") or {}).items() if count
            )
            chosen = [record[end].get("logps/chosen") for end in ("first", "last")]
            rows.append(
                [
                    cell(row["recipe"]),
                    cell(label(name)),
                    cell(number(counts.get("kept")), kinds),
                    cell(number(counts.get("questions_with_pairs") or counts.get("questions_with_samples"))),
                    cell(number(record["steps"])),
                    cell(duration(record["seconds"])),
                    cell(NONE if None in chosen else f"{number(chosen[0], 1)} → {number(chosen[1], 1)}"),
                    cell(number(record["last"].get("rewards/margins"))),
                    cell("fired", record["alarm"], "worse") if record["alarm"] else cell("none"),
                ]
            )
    if rows:
        columns = ["recipe", "round", "examples", "questions", "steps", "time", "log p chosen", "margin", "alarm"]
        yield table(columns, rows, left=2)
        yield text(
            "Examples are preference pairs, or correct trajectories where a round is one of rejection sampling. The alarm fires "
            "where the log-probability of the chosen side falls below its start on the same pairs."
        )
    ranked = summary["heldout"]["ranking"]
    kept = [counts["kept"] for row in ranked for name, counts in row["examples"].items() if name == "round1"]
    if kept and min(kept) < max(kept):
        yield text(
            f"Recipes train on {min(kept):,} to {max(kept):,} examples in round 1. The same pairs.max_pairs and "
            f"rejection_sampling.max_samples for all make numbers and steps equal."
        )


def labels(summary: dict[str, Any]) -> Iterable[Block]:
    for name, found in summary["rollouts"].items():
        yield text(
            f"{label(name)} of {summary['settings']['reference']}: on {found['label_suspects']['count']} of "
            f"{found['questions']:,} questions all arms agree on another answer than gold. Such a question makes no pair and "
            f"no sample."
        )
        yield from label_suspects(found)


def cost(summary: dict[str, Any]) -> Iterable[Block]:
    found = summary["costs"]
    order = [row["recipe"] for row in summary["heldout"]["ranking"]]
    rows = [
        [cell(name), *_spent(found["recipes"][name]["own"]), *_spent(found["recipes"][name]["total"])] for name in order
    ]
    rows.append([cell("all recipes together"), *(cell(NONE) for _ in range(4)), *_spent(found["all"])])
    columns = ["recipe", "own jobs", "time", "GPU hours", "cost", "all jobs", "time", "GPU hours", "cost"]
    yield table(columns, rows, marked=len(rows) - 1, total=True)
    yield text(
        f"Own: what no other recipe shares, which is what this one adds. All: everything from the questions and the base model to "
        f"the held-out evaluations of its rounds. Times are sums over jobs. GPU hours at {dollars(found['gpu_hour_usd'])} each; "
        f"CPU time is not priced."
    )


def recipes(summary: dict[str, Any]) -> Iterable[Block]:
    for row in summary["heldout"]["ranking"]:
        content = {"overlay": row["overlay"], "held-out evaluations": row["files"]}
        yield {"kind": "code", "caption": row["recipe"], "text": as_yaml(content)}


def _columns(k: int) -> list[str]:
    return [*(title.format(k=k) for title in METRICS.values()), "well formed", "wrong sum", "tokens"]


def _accuracy(row: dict[str, Any]) -> list[dict[str, str]]:
    shown = {
        "mean": row["mean"],
        "greedy": row["greedy"],
        "majority": row["majority"],
        "pass": row["pass"][str(row["k"])],
    }
    form = row["format"]["sampled"]
    return [
        *(estimate(shown[metric]) for metric in METRICS),
        cell(percent(form["well_formed"])),
        cell(percent(form["wrong_sum"])),
        cell(number(form["tokens_mean"], 0)),
    ]


def _what(row: dict[str, Any]) -> str:
    """The overlay in a few words; a list of arms by their number."""
    return "; ".join(_flat(row["overlay"])) or "nothing"


def _flat(overlay: dict[str, Any], prefix: str = "") -> Iterable[str]:
    for key, value in overlay.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        elif key == "arms":
            yield f"{len(value)} arms"
        else:
            yield f"{prefix}{key} {value}"


def _seeds(row: dict[str, Any]) -> dict[str, str]:
    """How often a recipe was trained, and how far apart that came out."""
    if row.get("seeds", 1) == 1:
        return cell(1)
    return cell(row["seeds"], f"sd {number(100 * row['mean']['sd'], 2)}")


def _alarm(records: dict[str, Any]) -> dict[str, str]:
    fired = [label(name) for name, record in records.items() if record["alarm"]]
    return cell(", ".join(fired), tone="worse") if fired else cell("none" if records else NONE)


def _other_outcomes(found: dict[str, Any], k: int) -> str:
    return "; ".join(
        f"{title.format(k=k)} {found[metric]['outcome']}"
        for metric, title in METRICS.items()
        if metric != "mean" and found[metric]["outcome"] != "unchanged"
    )


def _spent(spent: dict[str, Any]) -> list[dict[str, str]]:
    return [
        cell(number(spent["jobs"])),
        cell(duration(spent["seconds"])),
        cell(number(spent["gpu_seconds"] / 3600)),
        cell(dollars(spent["usd"])),
    ]
