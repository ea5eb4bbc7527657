"""What the numbers allow to say, in a sentence, and the gate: red where a stage made the model worse."""

from itertools import pairwise
from typing import Any

from regime_w.report.format import equals, label, percent, points
from regime_w.report.voting import collapse_told

AGAINST = {
    "better": "significantly better than",
    "worse": "significantly worse than",
    "unchanged": "no significant change from",
}
ALONE = {"better": "significantly better", "worse": "significantly worse", "unchanged": "no significant change"}
REGRESSION = "Regression: a stage made the model worse"
RECITED = 1.5  # times as often right on the questions of the rollouts as on those of the evaluation


def verdict(
    models: list[dict[str, Any]],
    comparisons: list[dict[str, Any]],
    training: dict[str, dict[str, Any]],
    rollouts: dict[str, dict[str, Any]],
    other_sets: dict[str, dict[str, Any]],
    collapses: list[dict[str, Any]],
) -> dict[str, Any]:
    """status `regression`, `alarm`, `gain` or `unchanged`; headline and sentence; reasons (red) and notes.

    All but a note on each other set is said of the first evaluation set.
    """
    reasons = regressions(comparisons)
    alarms = [f"Training of {label(name)}: {record['alarm']}." for name, record in training.items() if record["alarm"]]
    if reasons:
        status, headline = "regression", REGRESSION
    elif alarms:
        status, headline = "alarm", "Training alarm: look at the curves before using this model"
    else:
        status, headline = gain(models, comparisons)
    return {
        "status": status,
        "headline": headline,
        "sentence": sentence(models, comparisons),
        "reasons": reasons + alarms + list(map(collapse_told, collapses)),
        "notes": [note for _, _, note in notes_of(models, comparisons, rollouts, other_sets)],
    }


def gain(models: list[dict[str, Any]], comparisons: list[dict[str, Any]]) -> tuple[str, str]:
    """Whether the last model is better than the one before it and SFT: `gain` or `unchanged`, and a headline."""
    last = models[-1]
    rivals = [c for c in against_rows(models, comparisons) if c["relation"] != ["base"]]
    gains = [label(c["against"]) for c in rivals if "better" in (c["greedy"]["outcome"], c["mean"]["outcome"])]
    if gains:
        return "gain", f"{_capital(last)} is significantly better than {' and '.join(gains)}"
    if rivals:
        before = " or ".join(label(c["against"]) for c in rivals)
        return "unchanged", f"No significant change from {before} to {label(last['name'])}"
    return "unchanged", f"Only {label(last['name'])} was evaluated: nothing to compare"


def notes_of(
    models: list[dict[str, Any]],
    comparisons: list[dict[str, Any]],
    rollouts: dict[str, dict[str, Any]],
    other_sets: dict[str, dict[str, Any]],
) -> list[tuple[str, str, str]]:
    """All notes: the section of the page that shows the numbers, the claim in a few words, and the whole note."""
    found = [("format", f"{claim}.", f"{claim}: {why}") for claim, why in format_notes(models, comparisons)]
    found += [("rollouts", claim, note) for claim, note in recital_notes(models, rollouts)]
    for name, own in other_sets.items():
        claim = REGRESSION if regressions(own["comparisons"]) else gain(own["models"], own["comparisons"])[1]
        found.append(("tests", f"{name}: {claim}.", f"{name}: {sentence(own['models'], own['comparisons'])}"))
    return found


def regressions(comparisons: list[dict[str, Any]]) -> list[str]:
    """A sentence for each model that a test finds below the model before it, SFT or the base."""
    found = []
    for c in comparisons:
        if "worse" in (c["greedy"]["outcome"], c["mean"]["outcome"]):
            found.append(
                f"{_capital({'name': c['model']})} is significantly below {label(c['against'])}: "
                f"greedy {points(c['greedy']['difference'])} pp (exact McNemar {equals(c['greedy']['p'])}), "
                f"mean of samples {points(c['mean']['difference'])} pp (bootstrap {equals(c['mean']['p'])})."
            )
    return found


def against_rows(models: list[dict[str, Any]], comparisons: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The last model's comparisons with the one before it, SFT and base, in this order."""
    own = (c for c in comparisons if c["model"] == models[-1]["name"])
    return sorted(own, key=lambda c: ("before" not in c["relation"], "base" in c["relation"]))


def sentence(models: list[dict[str, Any]], comparisons: list[dict[str, Any]]) -> str:
    """The last model against the one before it, SFT and base, on greedy answers and the mean of k."""
    last = models[-1]
    text = f"{_capital(last)} answers {percent(last['greedy']['value'])} of {last['n']:,} questions correctly (greedy)"
    own = against_rows(models, comparisons)
    return f"{text}: {'; '.join(_against(c, last['k']) for c in own)}." if own else f"{text}."


def format_notes(models: list[dict[str, Any]], comparisons: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Where strict accuracy moves and flexible accuracy does not, or by less than half, it is a change of format: what is
    said, and why."""
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
        claim = f"The {kind} of {label(c['model'])} against {label(c['against'])} {share}"
        why = (
            f"strict accuracy changes by {points(strict['difference'])} pp, but flexible accuracy, which takes the answer "
            f"wherever it stands, by {points(flexible['difference'])} pp ({equals(flexible['p'])}); well-formed answers go "
            f"from {percent(formed[0])} to {percent(formed[1])}."
        )
        notes.append((claim, why))
    return notes


def recital_notes(models: list[dict[str, Any]], rollouts: dict[str, dict[str, Any]]) -> list[tuple[str, str]]:
    """Where a policy answers the questions that SFT or a round taught it far more often right than others: then it recites,
    and its right trajectories teach it little (docs/method.md). The claim in a few words, and the whole note."""
    notes = []
    for policy, after in pairwise(models):
        found = rollouts.get(after["name"])
        if not found:
            continue
        if 2 * (found["seen_by_sft"] or 0) > found["questions"]:
            taught = "SFT was trained on"
            advice = (
                "Give SFT and the rollouts different questions (questions.rollout_fraction, sft.part, generate.part)."
            )
        elif 2 * (found["seen_by_rounds"] or 0) > found["questions"]:
            taught = "a round before asked too, with the same or other numbers"
            advice = "Rounds of other questions may teach it more (more of them, and generate.new_questions)."
        else:
            continue
        there, here = found["accuracy"]["value"], policy["mean"]["value"]
        if there > RECITED * here:
            claim = (
                f"{_capital(policy)} recites: {percent(there)} right in rollouts, {percent(here)} in the evaluation."
            )
            note = (
                f"{_capital(policy)} answers {percent(there)} right in the rollouts of {label(after['name'])}, on questions "
                f"most of which {taught}, and {percent(here)} in the evaluation: it recites. {advice}"
            )
            notes.append((claim, note))
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
