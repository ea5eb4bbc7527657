"""The summary as sections of blocks, which the HTML and the Markdown template both render.

A block is a dict with `kind`: `text`, `note`, `table` (columns, rows of cells), `figure` (svg, alt), `cases` (answers with
their texts) or `code`. A cell is {"main", "sub"}; strings are plain text, the templates escape them.
"""

from collections.abc import Callable, Iterable
from typing import Any

import yaml

from scripts.report import figures
from scripts.report.names import (
    MINUS,
    NONE,
    dollars,
    duration,
    equals,
    interval,
    label,
    number,
    p_value,
    percent,
    points,
    size,
)

Block = dict[str, Any]
Section = dict[str, Any]
CASE_BUDGET = 1_200_000  # characters of model text on the page
CASE_LENGTH = (600, 4000)  # of one text
ROUND_FIGURES = 4  # rounds that have plots of their own
MOST_LINES = 6
OUTCOMES = {"better": "significantly better", "worse": "significantly worse", "unchanged": "no significant change"}


def page(summary: dict[str, Any]) -> list[Section]:
    """The sections that have something to show; the first one is the top of the page."""
    makers: list[tuple[str, str, Callable[[dict[str, Any]], Iterable[Block]]]] = [
        ("overview", "Overview", _overview),
        ("tests", "Tests", _tests),
        ("format", "Format and length", _format),
        ("styles", "Styles", _styles),
        ("rollouts", "Rollouts", _rollouts),
        ("coherence", "Coherence", _coherence),
        ("pairs", "Pairs", _pairs),
        ("training", "Training", _training),
        ("flips", "Flips", _flips),
        ("data", "Data", _data),
        ("cost", "Time and cost", _cost),
        ("provenance", "Provenance", _provenance),
    ]
    made = [{"id": identity, "title": title, "blocks": list(make(summary))} for identity, title, make in makers]
    return [section for section in made if section["blocks"]]


def key_table(summary: dict[str, Any]) -> Block:
    """A row a model; also what the terminal shows."""
    k = summary["settings"]["k"]
    rows = [
        [
            cell(label(m["name"])),
            _estimate(m["greedy"]),
            _estimate(m["mean"]),
            _estimate(m["majority"]),
            _estimate(m["pass"][str(k)]),
            _estimate(m["flexible"]),
            cell(percent(m["format"]["greedy"]["well_formed"])),
            cell(percent(m["format"]["greedy"]["no_answer"])),
            cell(percent(m["format"]["greedy"]["truncated"])),
            cell(number(m["format"]["greedy"]["tokens_mean"], 0)),
        ]
        for m in summary["models"]
    ]
    columns = ["model", "greedy", f"mean of {k}", f"majority of {k}", f"pass@{k}", "flexible", "well formed", "no answer"]
    return table([*columns, "truncated", "tokens"], rows, marked=len(rows) - 1)


def cell(main: Any, sub: str = "", tone: str = "") -> dict[str, str]:
    return {"main": str(main), "sub": sub, "tone": tone}


def table(columns: list[str], rows: list[list[dict[str, str]]], *, caption: str = "", left: int = 1, marked: int = -1) -> Block:
    """`left` columns hold text, the others numbers; `marked` is a row to stand out."""
    return {"kind": "table", "columns": columns, "rows": rows, "caption": caption, "left": left, "marked": marked}


def figure(svg: str, caption: str, alt: str) -> Block:
    return {"kind": "figure", "svg": svg, "caption": caption, "alt": alt}


def text(content: str) -> Block:
    return {"kind": "text", "text": content}


def title(content: str) -> Block:
    return {"kind": "title", "text": content}


def _overview(summary: dict[str, Any]) -> Iterable[Block]:
    models, settings = summary["models"], summary["settings"]
    k, level = settings["k"], percent(settings["level"], 0)
    yield key_table(summary)
    yield text(
        f"Strict accuracy on {models[0]['n']:,} questions with {level} intervals below (Wilson for shares of questions, "
        f"bootstrap over questions for means). Flexible takes the greedy answer wherever it stands; well formed ends in "
        f"#### N and stops by itself; format and tokens are those of the greedy answers."
    )
    values = ", ".join(f"{label(m['name'])} {percent(m['greedy']['value'])}" for m in models)
    yield figure(
        figures.accuracy(models, "accuracy"), f"Accuracy with {level} intervals", f"Accuracy by model; greedy: {values}."
    )
    shown = _few(summary["comparisons"])
    if shown:
        alt = "; ".join(f"{label(c['model'])} against {label(c['against'])} {points(c['greedy']['difference'])}" for c in shown)
        yield figure(
            figures.differences(shown, k, "differences"),
            f"Paired differences with {level} intervals; an interval across zero is no significant change",
            f"Paired differences in greedy accuracy, percentage points: {alt}.",
        )


def _tests(summary: dict[str, Any]) -> Iterable[Block]:
    settings = summary["settings"]
    k, compared = settings["k"], summary["comparisons"]
    if compared:
        columns = ["comparison", "reading", "greedy", "gained / lost", "McNemar p", f"mean of {k}", "bootstrap p"]
        rows = [
            [
                cell(f"{label(c['model'])} vs {label(c['against'])}"),
                cell(OUTCOMES[c["greedy"]["outcome"]], _mean_outcome(c, k), c["greedy"]["outcome"]),
                _difference(c["greedy"]),
                cell(f"{c['greedy']['gained']} / {c['greedy']['lost']}"),
                cell(p_value(c["greedy"]["p"])),
                _difference(c["mean"]),
                cell(p_value(c["mean"]["p"])),
                _difference(c["flexible"]),
                cell(p_value(c["flexible"]["p"])),
                cell(NONE if c["minimum_detectable_effect"] is None else f"{100 * c['minimum_detectable_effect']:.1f}"),
            ]
            for c in compared
        ]
        yield table([*columns, "flexible", "McNemar p", "detectable"], rows, left=2)
        yield text(
            f"Differences in percentage points; the reading is that of the greedy answers. Greedy and flexible: exact McNemar test on the questions that only one of the "
            f"two solves (gained / lost). Mean of {k}: paired bootstrap over questions, {settings['n_boot']:,} resamples. "
            f"Detectable: the smallest difference that a test of this size sees with {percent(settings['power'], 0)} power at "
            f"the observed share of questions that changed. Significant means p < {settings['alpha']:g}; p values are not "
            f"corrected for the number of tests."
        )
    models = _few_models(summary["models"])
    if k > 1:
        yield figure(
            figures.pass_at_k(models, "passk"),
            "pass@k: chance that one of k samples is right (unbiased); the band is the interval",
            "pass@k by model: "
            + "; ".join(
                f"{label(m['name'])} {', '.join(f'{size}: ' + percent(e['value']) for size, e in m['pass'].items())}"
                for m in models
            ),
        )
        sizes = list(summary["models"][0]["pass"])
        rows = [[cell(label(m["name"])), *(_estimate(m["pass"][size]) for size in sizes)] for m in summary["models"]]
        yield table(["model", *(f"pass@{size}" for size in sizes)], rows)


def _format(summary: dict[str, Any]) -> Iterable[Block]:
    models, k = summary["models"], summary["settings"]["k"]
    rows = []
    for m in models:
        for kind, strict, flexible in (("greedy", "greedy", "flexible"), ("sampled", "mean", "flexible_mean")):
            f = m["format"][kind]
            rows.append(
                [
                    cell(label(m["name"])),
                    cell(kind if kind == "greedy" else f"{k} samples"),
                    _estimate(m[strict]),
                    _estimate(m[flexible]),
                    *(cell(percent(f[key])) for key in ("well_formed", "fallback", "no_answer", "truncated")),
                    cell(number(f["tokens_mean"], 0), f"median {number(f['tokens_median'], 0)}"),
                    cell(number(f["tokens_p95"], 0), f"longest {number(f['tokens_max'])}"),
                    cell(number(f["tokens_correct"], 0)),
                    cell(number(f["tokens_wrong"], 0)),
                ]
            )
    columns = ["model", "answers", "strict", "flexible", "well formed", "unmarked", "no answer", "truncated"]
    yield table([*columns, "tokens", "95% up to", "if right", "if wrong"], rows, left=2)
    yield text(
        "Unmarked: the last number was taken for want of a marked answer. A gain in strict accuracy without one in flexible "
        "accuracy is a gain in format, not in mathematics."
    )
    few = _few_models(models)
    yield figure(
        figures.answer_format(few, "format"),
        "Strict and flexible accuracy beside the share of well-formed answers (greedy)",
        "; ".join(
            f"{label(m['name'])}: strict {percent(m['greedy']['value'])}, flexible {percent(m['flexible']['value'])}, "
            f"well formed {percent(m['format']['greedy']['well_formed'])}"
            for m in few
        ),
    )
    medians = ", ".join(f"{label(m['name'])} {number(m['format']['greedy']['tokens_median'], 0)}" for m in few)
    yield figure(
        figures.lengths(few, "lengths"),
        "Share of greedy answers up to a length in tokens",
        f"Distribution of lengths; medians: {medians} tokens.",
    )


def _styles(summary: dict[str, Any]) -> Iterable[Block]:
    k = summary["settings"]["k"]
    rows = [
        [
            cell(style),
            cell(label(m["name"])),
            cell(number(found["n"])),
            _estimate(found["greedy"]),
            _estimate(found["mean"]),
            _estimate(found["flexible"]),
            cell(number(found["tokens"], 0)),
        ]
        for style in summary["models"][0]["styles"]
        for m in summary["models"]
        if (found := m["styles"].get(style))
    ]
    columns = ["style", "model", "questions", "greedy", f"mean of {k}", "flexible", "tokens"]
    yield table(columns, rows, caption="Evaluation by the style of the prompt", left=2)


def _rollouts(summary: dict[str, Any]) -> Iterable[Block]:
    shown = list(summary["rollouts"])[-ROUND_FIGURES:]
    for name, found in summary["rollouts"].items():
        yield title(f"Rollouts of {label(name)}")
        f = found["format"]
        yield text(
            f"{found['trajectories']:,} trajectories of {found['questions']:,} questions; correct "
            f"{percent(found['accuracy']['value'])}, majority {percent(found['majority']['value'])}, at least one correct "
            f"{percent(found['any_correct'])}; all arms agree on {percent(found['unanimous'])} of the questions. Well formed "
            f"{percent(f['well_formed'])}, no answer {percent(f['no_answer'])}, truncated {percent(f['truncated'])}."
        )
        for kind in ("arms", "styles"):
            if found[kind]:
                yield _arm_table(found[kind], kind)
        if name in shown:
            if found["arms"]:
                alt = ", ".join(f"{arm} {percent(own['accuracy']['value'])}" for arm, own in found["arms"].items())
                yield figure(
                    figures.arms(found["arms"], f"arms-{name}"),
                    f"Accuracy of each arm, {label(name)}",
                    f"Accuracy by arm: {alt}.",
                )
            counts = found["correct_per_question"]
            yield figure(
                figures.correct_per_question(counts, f"right-{name}"),
                "Questions by how many of their trajectories are right; the grey ends make no correctness pair",
                "Questions by number of correct trajectories: " + ", ".join(f"{n}: {count}" for n, count in counts.items()),
            )
        suspects = found["label_suspects"]
        yield text(
            f"Labels to look at: on {suspects['count']} questions all arms agree on another answer than gold. "
            f"math-verify reads {found['math_verify']['disagreements']} answers otherwise than this pipeline."
        )
        if suspects["shown"]:
            yield _suspects("All arms agree, but not with gold", suspects["shown"])
        if found["math_verify"]["shown"]:
            yield _suspects("math-verify disagrees", found["math_verify"]["shown"])


def _arm_table(groups: dict[str, Any], kind: str) -> Block:
    rows = [
        [
            cell(name),
            cell(NONE if own["temperature"] is None else f"{own['temperature']:g}"),
            cell(number(own["n"])),
            _estimate(own["accuracy"]),
            cell(number(own["consistency"])),
            cell(number(own["reward_mean"])),
            *(cell(percent(own["format"][key])) for key in ("well_formed", "no_answer", "truncated")),
            cell(number(own["format"]["tokens_mean"], 0)),
        ]
        for name, own in groups.items()
    ]
    columns = ["arm" if kind == "arms" else "style", "temperature", "trajectories", "correct", "consistency", "reward"]
    return table([*columns, "well formed", "no answer", "truncated", "tokens"], rows)


def _suspects(caption: str, cases: list[dict[str, Any]]) -> Block:
    rows = [
        [cell(case["id"]), cell(case["question"]), cell(case["gold_answer"]), cell(case["answer"] or NONE)] for case in cases
    ]
    return table(["id", "question", "gold", "answer"], rows, caption=caption, left=2)


def _coherence(summary: dict[str, Any]) -> Iterable[Block]:
    rounds = {name: found for name, found in summary["rollouts"].items() if found["coherence"]}
    rows = [
        [
            cell(label(name)),
            cell(term),
            cell(number(use["mean"])),
            cell(number(use["auc"])),
            cell(number(use["auc_within"])),
            cell(number(use["length_correlation"])),
        ]
        for name, found in rounds.items()
        for term, use in found["coherence"].items()
    ]
    if not rows:
        return
    yield table(["round", "term", "mean", "AUC", "AUC in a question", "rank correlation with length"], rows, left=2)
    rates = ", ".join(
        f"{label(name)} {number(found['coherence']['s_end']['mean'])}"
        for name, found in rounds.items()
        if "s_end" in found["coherence"]
    )
    yield text(
        f"Pairwise consistency rate (mean s_end, the share of pairs of trajectories with the same answer): {rates}. AUC: chance "
        f"that a correct trajectory has the higher coherence of two, 0.5 is a coin; in a question, it is averaged over questions "
        f"with right and wrong trajectories, which is what ranking pairs needs."
    )
    for name, found in list(rounds.items())[-ROUND_FIGURES:]:
        bins = found["calibration"]
        if bins:
            yield figure(
                figures.calibration(bins, f"coherence-{name}"),
                f"Share correct by coherence, {label(name)}; a dot's area is its number of trajectories",
                "Share correct by coherence: "
                + ", ".join(f"{b['low']:.1f} to {b['high']:.1f}: {percent(b['accuracy'], 0)}" for b in bins),
            )


def _pairs(summary: dict[str, Any]) -> Iterable[Block]:
    found = summary["preferences"]
    if not found:
        return
    names = list(found)
    lines: list[tuple[str, list[Any]]] = [
        (caption, [found[name].get(key) for name in names])
        for caption, key in (
            ("questions", "questions"),
            ("questions with pairs", "questions_with_pairs"),
            ("candidate pairs", "candidates"),
            ("kept", "kept"),
        )
    ]
    for group, word in (("kept_by_type", "kept"), ("dropped", "dropped"), ("no_pair_reasons", "no pair")):
        keys = dict.fromkeys(key for name in names for key in found[name].get(group) or {})
        lines += [
            (f"{word}: {key.replace('_', ' ')}", [(found[name].get(group) or {}).get(key, 0) for name in names]) for key in keys
        ]
    lines += [
        (f"mean tokens of the {side} side", [found[name].get(f"{side}_tokens_mean") for name in names])
        for side in ("chosen", "rejected")
    ]
    lines.append(("all arms agree, but not with gold", [len(found[name].get("unanimous_not_gold") or []) for name in names]))
    rows = [[cell(caption), *(cell(number(value, 1)) for value in values)] for caption, values in lines]
    yield table(["", *map(label, names)], rows)
    for name in names[-ROUND_FIGURES:]:
        kept, dropped = found[name].get("kept_by_type") or {}, found[name].get("dropped") or {}
        if any(kept.values()) or any(dropped.values()):
            counts = ", ".join(f"{key} {count}" for key, count in (kept | dropped).items() if count)
            yield figure(
                figures.pairs(kept, dropped, f"pairs-{name}"),
                f"Candidate pairs of {label(name)}: kept by type, dropped by reason",
                f"Candidate pairs: {counts}.",
            )


def _training(summary: dict[str, Any]) -> Iterable[Block]:
    found = summary["training"]
    if not found:
        return
    keys = {"loss": "loss", "margin": "rewards/margins", "accuracy": "rewards/accuracies", "log p chosen": "logps/chosen"}
    rows = [
        [
            cell(label(name)),
            *(cell(number(record.get(key))) for key in ("examples", "steps", "tokens")),
            cell(duration(record.get("seconds"))),
            *(_change(record, key) for key in keys.values()),
            cell("none", tone="better") if not record["alarm"] else cell("fired", record["alarm"], "worse"),
        ]
        for name, record in found.items()
    ]
    yield table(["training", "examples", "steps", "tokens", "time", *keys, "alarm"], rows)
    yield text(
        "Curves from first to last logged step. Log-probabilities are sums over a completion, in nats; the alarm fires when "
        "that of the chosen side falls, which is how DPO unlearns what it was shown."
    )
    with_curves = {name: record for name, record in found.items() if set(record["curves"]) - {"learning_rate"}}
    for name, record in list(with_curves.items())[: 1 if len(with_curves) > MOST_LINES else None] + (
        list(with_curves.items())[-ROUND_FIGURES:] if len(with_curves) > MOST_LINES else []
    ):
        ends = ", ".join(f"{key} {number(record['first'][key])} to {number(record['last'][key])}" for key in record["curves"])
        yield figure(figures.training(record["curves"], f"training-{name}"), f"Training of {label(name)}", f"Curves: {ends}.")


def _flips(summary: dict[str, Any]) -> Iterable[Block]:
    shown = sum(len(flip[kind]["shown"]) for flip in summary["flips"] for kind in ("gained", "lost"))
    limit = min(CASE_LENGTH[1], max(CASE_LENGTH[0], CASE_BUDGET // (2 * shown))) if shown else 0
    for flip in summary["flips"]:
        names = [label(flip[side]) for side in ("against", "model")]
        yield title(f"From {names[0]} to {names[1]}")
        for kind, words in (("gained", "wrong to right"), ("lost", "right to wrong")):
            found = flip[kind]
            cases = [_case(case, names, limit) for case in found["shown"]]
            more = f", {len(cases)} of them here" if 0 < len(cases) < found["count"] else ""
            yield {"kind": "cases", "caption": f"{words}: {found['count']}{more}", "tone": kind, "cases": cases}


def _case(case: dict[str, Any], names: list[str], limit: int) -> dict[str, Any]:
    sides = [
        {
            "name": name,
            "text": _shorten(out["text"], limit),
            "facts": f"answer {out['answer'] or 'none'} ({out['extraction']}), {out['num_tokens']} tokens"
            + (", truncated" if out["finish_reason"] == "length" else ""),
        }
        for name, out in zip(names, (case["before"], case["after"]), strict=True)
    ]
    return {"id": str(case["id"]), "question": str(case["question"]), "gold": str(case["gold_answer"]), "sides": sides}


def _shorten(content: str, limit: int) -> str:
    """Beginning and end; the answer stands at the end."""
    if len(content) <= limit:
        return content
    half = limit // 2
    return f"{content[:half]}\n[... {len(content) - 2 * half:,} characters left out ...]\n{content[-half:]}"


def _data(summary: dict[str, Any]) -> Iterable[Block]:
    questions = summary["questions"]
    rows = [[cell(key), cell(value)] for key, value in _flat(questions) if not isinstance(value, list)]
    if rows:
        yield table(["questions", "value"], rows, left=2)
    for key, value in _flat(questions):
        if not isinstance(value, list) or not value:
            continue
        if all(isinstance(entry, dict) for entry in value):
            columns = list(dict.fromkeys(name for entry in value for name in entry))
            cells = [[cell(_scalar(entry.get(name))) for name in columns] for entry in value]
            yield table(columns, cells, caption=key, left=len(columns))
        else:
            yield text(f"{key}: {', '.join(_scalar(entry) for entry in value)}")


def _flat(value: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Leaves of a nested dict with their path as words: whatever questions.json says."""
    for key, item in value.items():
        name = f"{prefix}{key.replace('_', ' ')}"
        if isinstance(item, dict):
            yield from _flat(item, f"{name}: ")
        else:
            yield name, item if isinstance(item, list) else _scalar(item)


def _scalar(value: Any) -> str:
    return NONE if value is None else f"{value:,}" if type(value) is int else str(value)


def _cost(summary: dict[str, Any]) -> Iterable[Block]:
    usage = summary["usage"]
    if not usage["stages"]:
        return
    total = usage["total"]
    rows = [
        [
            cell(_stage_name(row)),
            cell(number(row["jobs"])),
            cell(duration(row["elapsed_seconds"])),
            cell(f"{row['cpu_seconds'] / 3600:.2f}"),
            cell(number(row["tokens"])),
            cell(number(row["tokens_per_second"], 0)),
            cell(f"{row['gpu_seconds'] / 3600:.2f}"),
            cell(NONE if row["gpu_utilisation"] is None else f"{row['gpu_utilisation']:.0f}%"),
            cell(NONE if row["gpu_memory_mb"] is None else f"{row['gpu_memory_mb'] / 1024:.1f} GiB"),
            cell(f"{row['peak_rss_mb'] / 1024:.1f} GiB"),
            cell(number(row["energy_wh"], 1) if row["energy_wh"] else NONE),
            cell(dollars(row["usd"])),
        ]
        for row in usage["stages"]
    ]
    rows.append(
        [
            cell("total"),
            cell(number(total["jobs"])),
            cell(duration(total["elapsed_seconds"])),
            cell(f"{total['cpu_seconds'] / 3600:.2f}"),
            cell(number(total["tokens"])),
            cell(NONE),
            cell(f"{total['gpu_seconds'] / 3600:.2f}"),
            cell(NONE),
            cell(NONE),
            cell(NONE),
            cell(number(total["energy_wh"], 1) if total["energy_wh"] else NONE),
            cell(dollars(total["usd"])),
        ]
    )
    columns = ["stage", "jobs", "time", "CPU hours", "tokens", "tokens/s", "GPU hours", "GPU use", "GPU memory", "memory"]
    yield table([*columns, "energy, Wh", "cost"], rows, marked=len(rows) - 1)
    span = f", from {total['started']} to {total['ended']}" if total.get("started") else ""
    yield text(
        f"Time is from start to end, jobs side by side counted once{span}. Cost: GPU hours at "
        f"{dollars(usage['gpu_hour_usd'])} each; CPU time is not priced. GPUs: {', '.join(usage['gpus']) or 'none'}. "
        f"Machine: {', '.join(usage['hosts']) or NONE}."
    )
    longest = max(row["elapsed_seconds"] for row in usage["stages"])
    unit, divisor = ("minutes", 60.0) if longest < 6000 else ("hours", 3600.0)
    top = sorted(usage["stages"], key=lambda row: -row["elapsed_seconds"])[:12]
    yield figure(
        figures.costs([(_stage_name(row), row["elapsed_seconds"] / divisor) for row in top], unit, "cost"),
        "Where the time went",
        "Time by stage: " + ", ".join(f"{_stage_name(row)} {duration(row['elapsed_seconds'])}" for row in top),
    )


def _provenance(summary: dict[str, Any]) -> Iterable[Block]:
    p = summary["provenance"]
    commit = f"{p['git']['commit']}{' with uncommitted changes' if p['git']['modified'] else ''}" if p["git"] else "not known"
    facts = [("run", summary["run"]), ("git commit", commit), ("python", p["python"]), ("platform", p["platform"])]
    facts += [(f"report: {key}", value) for key, value in summary["settings"].items()]
    if ((p["config"] or {}).get("base_model") or {}).get("trust_remote_code"):
        facts.append(("base_model.trust_remote_code", "true: code from the model's repository was run"))
    yield table(["fact", "value"], [[cell(key), cell(NONE if value is None else value)] for key, value in facts], left=2)
    trained = {name: record["versions"] for name, record in summary["training"].items() if record.get("versions")}
    packages = dict.fromkeys([*p["versions"], *(name for versions in trained.values() for name in versions)])
    rows = [
        [cell(name), cell(p["versions"].get(name, NONE)), *(cell(own.get(name, NONE)) for own in trained.values())]
        for name in packages
    ]
    columns = ["package", "report", *(f"training of {label(name)}" for name in trained)]
    yield table(columns, rows, caption="Versions", left=len(columns))
    if p["models"]:
        rows = [
            [cell(label(name)), cell(model["fingerprint"] or NONE), cell(number(model["files"])), cell(size(model["bytes"]))]
            for name, model in p["models"].items()
        ]
        yield table(["model", "fingerprint (SHA-256 of its files' hashes)", "files", "size"], rows, caption="Models", left=2)
        made = {name: model["made_from"] for name, model in p["models"].items()}
        yield {"kind": "code", "caption": "What the models were made from", "text": _yaml(made)}
    rows = [[cell(i["name"]), cell(i["path"]), cell(i["sha256"]), cell(size(i["bytes"]))] for i in p["inputs"]]
    yield table(["input", "file", "SHA-256", "size"], rows, caption="Inputs of this report", left=3)
    if p["config"] is not None:
        yield {"kind": "code", "caption": "Configuration", "text": _yaml(p["config"])}


def _estimate(estimate: dict[str, float]) -> dict[str, str]:
    return cell(percent(estimate["value"]), interval(estimate))


def _difference(found: dict[str, float]) -> dict[str, str]:
    return cell(points(found["difference"]), f"{points(found['low'])} to {points(found['high'])}")


def _mean_outcome(comparison: dict[str, Any], k: int) -> str:
    mean = comparison["mean"]
    same = mean["outcome"] == comparison["greedy"]["outcome"]
    return "" if same or k == 1 else f"mean of {k}: {OUTCOMES[mean['outcome']]} ({equals(mean['p'])})"


def _change(record: dict[str, Any], key: str) -> dict[str, str]:
    if key not in record["first"]:
        return cell(NONE)
    return cell(f"{number(record['first'][key])} → {number(record['last'][key])}".replace("-", MINUS))


def _stage_name(row: dict[str, Any]) -> str:
    part = {"sft_merged": "SFT"}.get(row["part"], label(row["part"]))
    return f"{row['stage']}, {part}" if part else row["stage"]


def _few(comparisons: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Where there are many rounds, each against the one before, and the last against all."""
    if len(comparisons) <= 2 * MOST_LINES:
        return comparisons
    last = comparisons[-1]["model"]
    return [c for c in comparisons if "before" in c["relation"] or c["model"] == last][-2 * MOST_LINES :]


def _few_models(models: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return models if len(models) <= MOST_LINES else models[:2] + models[-(MOST_LINES - 2) :]


def _yaml(content: Any) -> str:
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=110)
