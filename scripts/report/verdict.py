"""What the numbers allow to say, in a sentence, and the gate: red where a stage made the model worse."""

from typing import Any

from scripts.report.names import equals, label, percent, points

AGAINST = {
    "better": "significantly better than",
    "worse": "significantly worse than",
    "unchanged": "no significant change from",
}
ALONE = {"better": "significantly better", "worse": "significantly worse", "unchanged": "no significant change"}


def verdict(
    models: list[dict[str, Any]], comparisons: list[dict[str, Any]], training: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """status `regression`, `alarm`, `gain` or `unchanged`; headline and sentence; reasons (red) and notes."""
    reasons = regressions(comparisons)
    alarms = [f"Training of {label(name)}: {record['alarm']}." for name, record in training.items() if record["alarm"]]
    last = models[-1]
    before = next((c for c in comparisons if c["model"] == last["name"] and "before" in c["relation"]), None)
    if reasons:
        status, headline = "regression", "Regression: a stage made the model worse"
    elif alarms:
        status, headline = "alarm", "Training alarm: look at the curves before using this model"
    elif before and "better" in (before["greedy"]["outcome"], before["mean"]["outcome"]):
        status, headline = "gain", f"{_capital(last)} is significantly better than {label(before['against'])}"
    elif before:
        status, headline = (
            "unchanged",
            f"No significant change from {label(before['against'])} to {label(last['name'])}",
        )
    else:
        status, headline = "unchanged", f"Only {label(last['name'])} was evaluated: nothing to compare"
    return {
        "status": status,
        "headline": headline,
        "sentence": sentence(models, comparisons),
        "reasons": reasons + alarms,
        "notes": format_notes(models, comparisons),
    }


def regressions(comparisons: list[dict[str, Any]]) -> list[str]:
    """A sentence for each model that a test finds below the model before it, or below the base."""
    found = []
    for c in comparisons:
        if {"before", "base"} & set(c["relation"]) and "worse" in (c["greedy"]["outcome"], c["mean"]["outcome"]):
            found.append(
                f"{_capital({'name': c['model']})} is significantly below {label(c['against'])}: "
                f"greedy {points(c['greedy']['difference'])} pp (exact McNemar {equals(c['greedy']['p'])}), "
                f"mean of samples {points(c['mean']['difference'])} pp (bootstrap {equals(c['mean']['p'])})."
            )
    return found


def sentence(models: list[dict[str, Any]], comparisons: list[dict[str, Any]]) -> str:
    """The last model against the one before it and against base, on greedy answers and the mean of k."""
    last = models[-1]
    text = f"{_capital(last)} answers {percent(last['greedy']['value'])} of {last['n']:,} questions correctly (greedy)"
    own = [c for c in comparisons if c["model"] == last["name"] and {"before", "base"} & set(c["relation"])]
    own.sort(key=lambda c: "before" not in c["relation"])
    return f"{text}: {'; '.join(_against(c, last['k']) for c in own)}." if own else f"{text}."


def format_notes(models: list[dict[str, Any]], comparisons: list[dict[str, Any]]) -> list[str]:
    """Where strict accuracy moves and flexible accuracy does not, or by less than half: a change of format."""
    rows = {model["name"]: model for model in models}
    notes = []
    for c in comparisons:
        if "before" not in c["relation"] and (c["model"] != models[-1]["name"] or "base" not in c["relation"]):
            continue
        strict, flexible = c["greedy"], c["flexible"]
        same = flexible["outcome"] == strict["outcome"]
        if strict["outcome"] == "unchanged" or (same and 2 * abs(flexible["difference"]) >= abs(strict["difference"])):
            continue
        kind = "gain" if strict["outcome"] == "better" else "loss"
        share = "is mostly one of format" if same else "is one of format as far as can be told"
        formed = [rows[name]["format"]["greedy"]["well_formed"] for name in (c["against"], c["model"])]
        notes.append(
            f"The {kind} of {label(c['model'])} against {label(c['against'])} {share}: strict accuracy changes by "
            f"{points(strict['difference'])} pp, but flexible accuracy, which takes the answer wherever it stands, by "
            f"{points(flexible['difference'])} pp ({equals(flexible['p'])}); well-formed answers go from "
            f"{percent(formed[0])} to {percent(formed[1])}."
        )
    return notes


def _against(c: dict[str, Any], k: int) -> str:
    greedy, mean = c["greedy"], c["mean"]
    text = (
        f"{AGAINST[greedy['outcome']]} {label(c['against'])} ({points(greedy['difference'])} pp, {equals(greedy['p'])}"
    )
    if k > 1:
        text += f"; mean of {k} samples {points(mean['difference'])} pp, {equals(mean['p'])}"
        if mean["outcome"] != greedy["outcome"]:
            text += f", {ALONE[mean['outcome']]}"
    if greedy["outcome"] == "unchanged" and c["minimum_detectable_effect"]:
        text += f"; a test of this size sees {100 * c['minimum_detectable_effect']:.1f} pp"
    return text + ")"


def _capital(model: dict[str, Any]) -> str:
    name = label(model["name"])
    return name[:1].upper() + name[1:]
