"""The top of the report: what was trained on what, did it help, what did it cost, what to look at next.

Cards are {"id", "title", "blocks"} like sections; beside the blocks of blocks.py they hold `facts` (terms with texts),
`stats` (figures with what they count) and `looks` (texts with the section that they are about). Every figure is one that
the run recorded; what nobody recorded is left out.
"""

from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from regime_w.report.blocks import Block, cell, estimate, table, text
from regime_w.report.format import NONE, dollars, duration, equals, label, number, percent, points, rounded
from regime_w.report.page_models import few_models
from regime_w.report.page_run import origin, stage_name
from regime_w.report.readings import Readings
from regime_w.report.verdict import notes_of

MOST_LOOKS = 4  # texts that stand open
MOST_ROUNDS = 3  # that have a line of their own
MOST_STAGES = 3
TRUNCATED = 0.01  # share of answers cut off from which on it is said
TOKENS = "tokens, generated and trained on"

Card = dict[str, Any]


def top(summary: dict[str, Any], viewer: str | None) -> list[Card]:
    """The four cards; `viewer` is the page to read trajectories in, as this page's neighbour."""
    return cards(trained(summary), helped(summary), cost(summary), [looks(next_looks(summary), viewer)])


def cards(
    trained: Iterable[Block], helped: Iterable[Block], cost: Iterable[Block], next_: Iterable[Block]
) -> list[Card]:
    made = [
        ("trained", "What was trained on what", trained),
        ("helped", "Did it help?", helped),
        ("spent", "What did it cost?", cost),
        ("next", "What to look at next", next_),
    ]
    return [{"id": identity, "title": title, "blocks": list(blocks)} for identity, title, blocks in made]


def facts(rows: list[tuple[str, str]]) -> Block:
    return {"kind": "facts", "rows": rows}


def stats(rows: list[tuple[str, str]]) -> Block:
    """Figures with what they count."""
    return {"kind": "stats", "rows": rows}


def look(content: str, section: str, tone: str = "") -> dict[str, str]:
    """`tone` is `alarm`, `warn` or nothing; `section` the id of the section that shows it."""
    return {"text": content, "section": section, "tone": tone}


def looks(items: list[dict[str, str]], viewer: str | None = None) -> Block:
    """The first few stand open; `viewer` is a page beside this one."""
    address = quote(viewer) if viewer else None
    return {"kind": "looks", "items": items[:MOST_LOOKS], "more": items[MOST_LOOKS:], "viewer": address}


def trained(summary: dict[str, Any]) -> Iterable[Block]:
    made = [(label(name), _training(summary, name)) for name in summary["training"]]
    if len(made) > MOST_ROUNDS + 1:
        made = [*made[:2], ("…", f"{len(made) - 3} more trainings, see Training"), made[-1]]
    rows = [("model", base_model(summary)), ("questions", questions(summary["questions"])), *made]
    rows.append(("asked", _asked(summary)))
    yield facts([(name, told) for name, told in rows if told])


def base_model(summary: dict[str, Any]) -> str:
    """What the base model is, by its manifest, else by the configuration; empty where neither says."""
    p = summary["provenance"]
    made = (p["models"].get("base") or {}).get("made_from") or (p["config"] or {}).get("base_model") or {}
    if made.get("source") == "tiny":
        weights = (made.get("training") or {}).get("weights")
        return f"a Llama of {rounded(weights)} weights, trained here" if weights else "a small Llama, trained here"
    name = made.get("hub_id") or made.get("path") or ""
    return f"{name} at {str(made['revision'])[:12]}" if name and made.get("revision") else str(name)


def questions(counted: dict[str, Any]) -> str:
    """Training questions by source."""
    sources = counted.get("train", {}).get("sources", [])
    return "; ".join(f"{number(own.get('questions'))} from {origin(own)}" for own in sources)


def _training(summary: dict[str, Any], name: str) -> str:
    """What SFT or a round was trained on."""
    record = summary["training"][name]
    rollouts, pairs, samples = (summary[key].get(name) for key in ("rollouts", "preferences", "samples"))
    if name == "sft":
        told = f"{number(record.get('examples'))} worked solutions"
    elif pairs:
        told = f"DPO on {number(pairs.get('kept'))} pairs of {number(pairs.get('questions_with_pairs'))} questions"
    elif samples:
        told = f"fine-tuning on {number(samples.get('kept'))} of its own correct trajectories"
    else:
        told = f"{number(record.get('examples'))} examples"
    if record.get("steps"):
        told += f", {number(record['steps'])} steps"
    if rollouts and name != "sft":
        told += f"; picked from {rollouts['trajectories']:,} trajectories of {rollouts['questions']:,} questions"
    return told


def _asked(summary: dict[str, Any]) -> str:
    """The evaluation sets, and how they were asked."""
    sets = {summary["set"]: summary, **summary["other_sets"]}
    told = " and ".join(f"{own['models'][0]['n']:,} questions of {name}" for name, own in sets.items())
    heat = summary["settings"]["temperature"]
    taken = [str(own["models"][0]["k"]) for own in sets.values()]
    samples = taken[0] if len(set(taken)) == 1 else " and ".join(taken)
    return f"{told}: greedy, and {samples} samples" + ("" if heat is None else f" at temperature {heat:g}")


def helped(summary: dict[str, Any]) -> Iterable[Block]:
    """A row a model, each against the one before it."""
    k, several = summary["k"], summary["k"] > 1
    before = {c["model"]: c for c in summary["comparisons"] if "before" in c["relation"]}
    shown = few_models(summary["models"])
    rows = []
    for m in shown:
        row = [cell(label(m["name"])), barred(m["greedy"]), _change(before.get(m["name"]), "greedy")]
        rows.append(row + ([barred(m["mean"]), _change(before.get(m["name"]), "mean")] if several else []))
    columns = ["model", "greedy", "change", *([f"mean of {k}", "change"] if several else [])]
    yield table(columns, rows, marked=len(rows) - 1)
    level = percent(summary["settings"]["level"], 0)
    yield text(
        f"Share of right answers with its {level} interval. Change: percentage points against the model before, "
        f"significant where p < {summary['settings']['alpha']:g}."
    )


def barred(found: dict[str, float]) -> dict[str, Any]:
    """A share with its interval drawn below, both in percent of the width."""
    return estimate(found) | {"bar": {key: f"{100 * found[key]:.1f}" for key in ("low", "value", "high")}}


def _change(comparison: dict[str, Any] | None, metric: str) -> dict[str, str]:
    if comparison is None:
        return cell(NONE)
    found = comparison[metric]
    return cell(points(found["difference"]), equals(found["p"]), found["outcome"])


def cost(summary: dict[str, Any]) -> Iterable[Block]:
    """What the stages recorded of themselves, and the ones that took most of the time."""
    stages, total = summary["usage"]["stages"], summary["usage"]["total"]
    if not stages:
        yield text("Not recorded: the report was given no usage records.")
        return
    yield stats([(duration(total["elapsed_seconds"]), "wall time, without pauses"), *spent(total)])
    longest = sorted(stages, key=lambda row: -row["elapsed_seconds"])[:MOST_STAGES]
    rows = [[cell(stage_name(row)), cell(duration(row["elapsed_seconds"]))] for row in longest]
    yield table(["longest stages", "wall time"], rows, sortable=False)
    if on := ", ".join(summary["usage"]["gpus"]):
        yield text(f"GPUs: {on}.")


def spent(total: dict[str, Any]) -> list[tuple[str, str]]:
    """GPU hours and their price where a GPU was used, else CPU hours; tokens and energy where they were counted."""
    if total["gpu_seconds"]:
        rows = [(number(total["gpu_seconds"] / 3600, 1), f"GPU hours, {dollars(total['usd'])}")]
    else:
        rows = [(duration(total["cpu_seconds"]), "CPU time, no GPU")]
    if total.get("tokens"):
        rows.append((rounded(total["tokens"]), TOKENS))
    if total.get("energy_wh"):
        rows.append((number(total["energy_wh"] / 1000), "kWh drawn by the GPUs"))
    return rows


def next_looks(summary: dict[str, Any]) -> list[dict[str, str]]:
    """Alarms first, then notes, then what a reader would want to see."""
    last, found = summary["models"][-1], []
    for name, record in summary["training"].items():
        if record["alarm"]:
            found.append(look(f"The training alarm of {label(name)} fired: see its curves.", "training", "alarm"))
    told = notes_of(*(summary[key] for key in ("models", "comparisons", "rollouts", "other_sets")))
    found += [look(claim, section, "warn") for section, claim, _ in told]
    cut = last["format"]["greedy"]["truncated"]
    if cut >= TRUNCATED:
        found.append(look(f"{percent(cut)} of {label(last['name'])}'s greedy answers were cut off.", "format", "warn"))
    found += _of_rollouts(summary["rollouts"])
    found += _of_questions(summary)
    for flip in reversed(summary["flips"]):
        gained, lost = flip["gained"]["count"], flip["lost"]["count"]
        if gained or lost:
            names = f"From {label(flip['against'])} to {label(flip['model'])}"
            found.append(
                look(f"{names}, {gained:,} went from wrong to right and {lost:,} from right to wrong.", "flips")
            )
            break
    return found


def _of_rollouts(rounds: dict[str, Any]) -> Iterable[dict[str, str]]:
    cut = {label(name): found["format"]["truncated"] for name, found in rounds.items()}
    if told := ", ".join(f"{percent(share)} of {name}'s" for name, share in cut.items() if share >= TRUNCATED):
        yield look(f"Trajectories that were cut off: {told}.", "rollouts", "warn")
    for name, found in rounds.items():
        if faults := found["faults"]["count"]:
            told = f"The verifier failed on {faults:,} trajectories of {label(name)}, which count as wrong."
            yield look(told, "rollouts", "warn")
        if suspects := found["label_suspects"]["count"]:
            yield look(
                f"On {suspects:,} of {found['questions']:,} questions of {label(name)} all arms agree on another answer "
                f"than gold: labels to check.",
                "rollouts",
                "warn",
            )


def _of_questions(summary: dict[str, Any]) -> Iterable[dict[str, str]]:
    """Questions that stand on both sides, and sets that were read often."""
    for what, own in summary["questions"].get("train", {}).get("overlap", {}).items():
        same, near = own.get("same_text", 0), own.get("sharing_an_ngram", 0)
        if same or near:
            told = f"Training questions with the text of one of {what}: {same:,}; with {own.get('ngram')} words in a row of one"
            yield look(f"{told}: {near:,}; dropped: {len(own.get('dropped', [])):,}.", "data", "warn")
    for name, own in {summary["set"]: summary, **summary["other_sets"]}.items():
        if own["left_out"]:
            yield look(f"{own['left_out']:,} questions of {name} stand in the training data and are left out.", "data")
    yield from often_read(summary["readings"], "tests")


def often_read(readings: dict[str, Readings], section: str) -> Iterable[dict[str, str]]:
    for name, own in readings.items():
        if (times := len(own)) > 1:
            yield look(f"The questions of {name} were read {times:,} times: who reads often chooses by them.", section)
