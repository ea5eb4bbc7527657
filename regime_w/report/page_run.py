"""Sections on the run as a whole: data and overlap, time and cost, provenance."""

from collections.abc import Iterable
from typing import Any

from regime_w.report import figures
from regime_w.report.blocks import Block, as_yaml, cell, figure, table, text
from regime_w.report.format import NONE, dollars, duration, label, number, size

MOST_SHOWN = 20  # entries of a list
OF_SOURCE = ("rows", "questions", "taken", "without_rationale", "without_gold", "rationale_not_gold", "corrections")


def data(summary: dict[str, Any]) -> Iterable[Block]:
    """Where the questions come from, where they went, and what stands in two places (questions/summary.json)."""
    found = summary["questions"]
    train, sets = found.get("train", {}), found.get("eval", {})
    named = [("training", own) for own in train.get("sources", [])] + list(sets.items())
    if named:
        counts = [key for key in OF_SOURCE if any(own.get(key) for _, own in named)]
        rows = [
            [
                cell(name),
                cell(origin(own), str(own.get("sha256") or own.get("revision") or "")),
                cell(own.get("licence") or NONE),
                *(cell(_scalar(own.get(key))) for key in counts),
                cell(_few_words(own.get("bad_rows", {}).get("by_reason", {}))),
                cell(_few_words(own.get("doubles", {}))),
            ]
            for name, own in named
        ]
        columns = ["questions", "source", "licence", *(key.replace("_", " ") for key in counts)]
        yield table([*columns, "bad rows", "texts again"], rows, left=3)
    if start := found.get("start"):
        yield text(
            f"Round 1 began with another tool's work: {origin(start)}, SHA-256 {start.get('sha256') or 'not known'}."
        )
    parts = found.get("parts", {})
    rows = [
        [
            cell(name),
            *(cell(_scalar(own.get(key))) for key in ("questions", "variants", "seen_by_sft", "seen_by_rounds")),
        ]
        for name, own in {**parts, **({"held out": _held(train)} if train else {})}.items()
    ]
    if rows:
        yield table(["part", "questions", "variants", "SFT saw", "a round before saw"], rows)
    for what, own in train.get("overlap", {}).items():
        yield text(
            f"Overlap of training with {what}: {own.get('same_text', 0):,} have the same text, {own.get('sharing_an_ngram', 0):,} "
            f"share {own.get('ngram')} words in a row; dropped from {own.get('drop_threshold')} of a question's on: "
            f"{_listed(own.get('dropped', []))}."
        )
        if highest := own.get("highest"):
            columns = list(dict.fromkeys(name for entry in highest for name in entry))
            cells = [[cell(_scalar(entry.get(name))) for name in columns] for entry in highest]
            yield table(columns, cells, caption=f"Nearest to {what}", left=3, folded=True)
    for name, own in sets.items():
        if own.get("left_out"):
            yield text(f"{name}: stands in the training data, too, and is left out: {_listed(own['left_out'])}.")
        if own.get("in_other_sets"):
            yield text(f"{name}: questions that another set has, too: {_few_words(own['in_other_sets'])}.")


def origin(source: dict[str, Any]) -> str:
    keys = ("source", "hub_id", "hub_config", "path", "split", "seed")
    return " ".join(str(source[key]) for key in keys if source.get(key) is not None)


def _held(train: dict[str, Any]) -> dict[str, Any]:
    return {"questions": train.get("counts", {}).get("heldout")}


def _few_words(counts: dict[str, Any]) -> str:
    return ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items() if count) or NONE


def _listed(names: list[Any]) -> str:
    more = f" and {len(names) - MOST_SHOWN:,} more" if len(names) > MOST_SHOWN else ""
    return (", ".join(map(_scalar, names[:MOST_SHOWN])) or "none") + more


def _scalar(value: Any) -> str:
    return NONE if value is None else f"{value:,}" if type(value) is int else str(value)


def cost(summary: dict[str, Any]) -> Iterable[Block]:
    usage = summary["usage"]
    if not usage["stages"]:
        return
    total = usage["total"]
    rows = [_cost_row(stage_name(row), row) for row in usage["stages"]] + [_cost_row("total", total)]
    columns = ["stage", "jobs", "time", "cost", "GPU hours", "GPU use", "energy, Wh", "tokens", "tokens/s", "CPU hours"]
    yield table([*columns, "memory"], rows, marked=len(rows) - 1, total=True)
    span = f", from {total['started']} to {total['ended']}" if total.get("started") else ""
    yield text(
        f"Time is from start to end, jobs side by side counted once{span}. Cost: GPU hours at "
        f"{dollars(usage['gpu_hour_usd'])} each; CPU time is not priced. Below GPU use: the highest GPU memory of a job. "
        f"GPUs: {', '.join(usage['gpus']) or 'none'}. Machine: {', '.join(usage['hosts']) or NONE}."
    )
    longest = max(row["elapsed_seconds"] for row in usage["stages"])
    unit, divisor = ("minutes", 60.0) if longest < 6000 else ("hours", 3600.0)
    top = sorted(usage["stages"], key=lambda row: -row["elapsed_seconds"])[:12]
    yield figure(
        figures.costs([(stage_name(row), row["elapsed_seconds"] / divisor) for row in top], unit, "cost"),
        "Where the time went",
        "Time by stage: " + ", ".join(f"{stage_name(row)} {duration(row['elapsed_seconds'])}" for row in top),
    )


def _cost_row(name: str, row: dict[str, Any]) -> list[dict[str, str]]:
    """A stage or the total, which has no rates and peaks."""
    used, gpu_memory, memory = (row.get(key) for key in ("gpu_utilisation", "gpu_memory_mb", "peak_memory_mb"))
    return [
        cell(name),
        cell(number(row["jobs"])),
        cell(duration(row["elapsed_seconds"])),
        cell(dollars(row["usd"])),
        cell(number(row["gpu_seconds"] / 3600)),
        cell(NONE if used is None else f"{used:.0f}%", f"{gpu_memory / 1024:.1f} GiB" if gpu_memory else ""),
        cell(number(row["energy_wh"], 1) if row["energy_wh"] else NONE),
        cell(number(row["tokens"])),
        cell(number(row.get("tokens_per_second"), 0)),
        cell(number(row["cpu_seconds"] / 3600)),
        cell(f"{memory / 1024:.1f} GiB" if memory else NONE),
    ]


def stage_name(row: dict[str, Any]) -> str:
    part = {"sft_merged": "SFT"}.get(row["part"], label(row["part"]))
    if "/" in part:  # of an evaluation
        name, _, model = part.partition("/")
        part = f"{label(model)} on {name}"
    return f"{row['stage']}, {part}" if part else row["stage"]


def provenance(summary: dict[str, Any]) -> Iterable[Block]:
    p = summary["provenance"]
    commit = "not known"
    if p["git"]:
        commit = p["git"]["commit"] + (" with uncommitted changes" if p["git"]["modified"] else "")
    facts: list[tuple[str, Any]] = [("run", summary["run"]), ("git commit", commit)]
    facts += [("python", p["python"]), ("platform", p["platform"])]
    facts += [(f"report: {key}", value) for key, value in summary["settings"].items()]
    base = (p["config"] or {}).get("base_model") or {}
    if base.get("trust_remote_code"):
        code = sorted({name for model in p["models"].values() for name in model["code"]})
        where = base.get("hub_id") if base.get("source") == "hub" else base.get("path")
        ran = (
            f"code from the model's repository was run ({where}: {', '.join(code)})"
            if code
            else "the model has no code"
        )
        facts.append(("base_model.trust_remote_code", f"true: {ran}"))
    yield table(
        ["fact", "value"],
        [[cell(key), cell(NONE if value is None else value)] for key, value in facts],
        left=2,
        sortable=False,
    )
    trained = {
        name: record["versions"] for name, record in summary.get("training", {}).items() if record.get("versions")
    }
    packages = dict.fromkeys([*p["versions"], *(name for versions in trained.values() for name in versions)])
    rows = [
        [cell(name), cell(p["versions"].get(name, NONE)), *(cell(own.get(name, NONE)) for own in trained.values())]
        for name in packages
    ]
    columns = ["package", "report", *(f"training of {label(name)}" for name in trained)]
    yield table(columns, rows, caption="Versions", left=len(columns))
    if p["models"]:
        rows = [
            [
                cell(label(name)),
                cell(model["fingerprint"] or NONE, tone="mono"),
                cell(number(model["files"])),
                cell(size(model["bytes"])),
            ]
            for name, model in p["models"].items()
        ]
        yield table(
            ["model", "fingerprint (SHA-256 of its files' hashes)", "files", "size"], rows, caption="Models", left=2
        )
        made = {name: model["made_from"] for name, model in p["models"].items()}
        yield {"kind": "code", "caption": "What the models were made from", "text": as_yaml(made)}
    rows = [
        [cell(i["name"]), cell(i["path"]), cell(i["sha256"], tone="mono"), cell(size(i["bytes"]))] for i in p["inputs"]
    ]
    yield table(["input", "file", "SHA-256", "size"], rows, caption="Inputs of this report", left=3)
    if p["config"] is not None:
        yield {"kind": "code", "caption": "Configuration", "text": as_yaml(p["config"])}
