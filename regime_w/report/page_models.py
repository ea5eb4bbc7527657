"""Sections on the evaluated models: the top of the page, tests, format and length, styles, flipped answers."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from regime_w.report import figures
from regime_w.report.blocks import Block, beside, cell, difference, estimate, figure, table, text, title
from regime_w.report.format import NONE, equals, label, number, p_value, percent, points
from regime_w.report.readings import Readings

CASE_BUDGET = 1_200_000  # characters of model text on the page
CASE_LENGTH = (600, 4000)  # of one text
MOST_LINES = 6
OUTCOMES = {"better": "significantly better", "worse": "significantly worse", "unchanged": "no significant change"}


def sets_of(summary: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What models answered, by evaluation set, the first one first."""
    return {summary["set"]: summary, **summary["other_sets"]}


def set_title(summary: dict[str, Any], name: str) -> list[Block]:
    """A set's name above what is said of it, where there are several."""
    return [title(name)] if summary["other_sets"] else []


def key_table(found: dict[str, Any]) -> Block:
    """A row a model of what they answered on one set; also what the terminal shows."""
    k = found["k"]
    rows = [
        [
            cell(label(m["name"])),
            estimate(m["greedy"]),
            estimate(m["mean"]),
            estimate(m["majority"]),
            estimate(m["pass"][str(k)]),
            estimate(m["flexible"]),
            cell(percent(m["format"]["greedy"]["well_formed"])),
            cell(percent(m["format"]["greedy"]["no_answer"])),
            cell(percent(m["format"]["greedy"]["truncated"])),
            cell(number(m["format"]["greedy"]["tokens_mean"], 0)),
        ]
        for m in found["models"]
    ]
    columns = [
        "model",
        "greedy",
        f"mean of {k}",
        f"majority of {k}",
        f"pass@{k}",
        "flexible",
        "well formed",
        "no answer",
    ]
    return table([*columns, "truncated", "tokens"], rows, marked=len(rows) - 1)


def overview(summary: dict[str, Any]) -> Iterable[Block]:
    models, settings = summary["models"], summary["settings"]
    k, level = settings["k"], percent(settings["level"], 0)
    for name, found in sets_of(summary).items():
        yield from set_title(summary, name)
        yield key_table(found)
        yield text(asked(found))
    yield text(
        f"Strict accuracy with {level} intervals below (Wilson for shares of questions, bootstrap over questions for means). "
        f"Flexible takes the greedy answer wherever it stands; well formed ends in #### N and stops by itself; format and "
        f"tokens are those of the greedy answers."
    )
    values = ", ".join(f"{label(m['name'])} {percent(m['greedy']['value'])}" for m in models)
    yield figure(
        figures.accuracy(models, "accuracy"),
        f"Accuracy with {level} intervals",
        f"Accuracy by model; greedy: {values}.",
    )
    shown = _few(summary["comparisons"])
    if shown:
        alt = "; ".join(
            f"{label(c['model'])} against {label(c['against'])} {points(c['greedy']['difference'])}" for c in shown
        )
        yield figure(
            figures.differences(shown, k, "differences"),
            f"Paired differences with {level} intervals; an interval across zero is no significant change",
            f"Paired differences in greedy accuracy, percentage points: {alt}.",
        )


def asked(found: dict[str, Any]) -> str:
    """How many questions of a set the numbers are of."""
    n, left_out = found["models"][0]["n"], found["left_out"]
    why = f"; {left_out:,} more stand in the training data, too, and are left out" if left_out else ""
    return f"{n:,} questions{why}."


def times_read(readings: dict[str, Readings]) -> str:
    """How often each set's questions have been read, and by which reports; empty where nobody counted."""
    said = []
    for name, own in readings.items():
        reports = Counter(f"{reading['report']} of {reading['run']}" for reading in own)
        by = ", ".join(f"{report} {times} times" if times > 1 else report for report, times in reports.items())
        said.append(f"{name} {len(own):,} ({by})")
    listed = "; ".join(said)
    return f"Times read in this folder, this report counted (a set read often chooses, too): {listed}. " if said else ""


def tests(summary: dict[str, Any]) -> Iterable[Block]:
    settings = summary["settings"]
    for name, found in sets_of(summary).items():
        blocks = [*_comparisons(found), *_pass_at_k(found, name), *_votes(found)]
        yield from [*set_title(summary, name), *blocks] if blocks else []
    if summary["comparisons"]:
        yield text(
            f"Differences in percentage points; the reading is that of the greedy answers. Greedy and flexible: exact "
            f"McNemar test on the questions that only one of the two solves (gained / lost). Mean of several samples: paired "
            f"bootstrap over questions, {settings['n_boot']:,} resamples. Detectable: the smallest difference that a test "
            f"of this size sees with {percent(settings['power'], 0)} power at the observed share of questions that "
            f"changed. Significant means p < {settings['alpha']:g}; p values are not corrected for the number of tests. "
            f"{times_read(summary['readings'])}"
        )


def _comparisons(found: dict[str, Any]) -> Iterable[Block]:
    k, compared = found["k"], found["comparisons"]
    if not compared:
        return
    rows = [
        [
            cell(f"{label(c['model'])} vs {label(c['against'])}"),
            cell(OUTCOMES[c["greedy"]["outcome"]], _mean_outcome(c, k), c["greedy"]["outcome"]),
            difference(c["greedy"]),
            cell(f"{c['greedy']['gained']} / {c['greedy']['lost']}"),
            cell(p_value(c["greedy"]["p"])),
            difference(c["mean"]),
            cell(p_value(c["mean"]["p"])),
            difference(c["flexible"]),
            cell(p_value(c["flexible"]["p"])),
            cell(NONE if c["minimum_detectable_effect"] is None else f"{100 * c['minimum_detectable_effect']:.1f}"),
        ]
        for c in compared
    ]
    columns = [
        "comparison",
        "reading",
        "greedy",
        "gained / lost",
        "p",
        f"mean of {k}",
        "p",
        "flexible",
        "p",
        "detectable",
    ]
    yield table(columns, rows, left=2)


def _pass_at_k(found: dict[str, Any], name: str) -> Iterable[Block]:
    models = few_models(found["models"])
    if found["k"] == 1:
        return
    sizes = list(models[0]["pass"])
    rows = [[cell(label(m["name"])), *(estimate(m["pass"][size]) for size in sizes)] for m in found["models"]]
    plot = figure(
        figures.pass_at_k(models, f"passk-{name}"),
        "pass@k: chance that one of k samples is right (unbiased); the band is the interval",
        "pass@k by model: "
        + "; ".join(
            f"{label(m['name'])} {', '.join(f'{size}: ' + percent(e['value']) for size, e in m['pass'].items())}"
            for m in models
        ),
    )
    yield beside(table(["model", *(f"pass@{size}" for size in sizes)], rows), plot)


VOTES = {"coherence": "weighed by coherence", "sums": "samples whose sums hold"}


def _votes(found: dict[str, Any]) -> Iterable[Block]:
    """Votes at test time beside the plain majority."""
    if found["k"] < 3:  # of two samples no vote is a majority
        return
    ways = [way for way in VOTES if way in next(iter(found["votes"].values()))]
    rows = [
        [
            cell(label(name)),
            estimate(own["majority"]),
            *(
                each
                for way in ways
                for each in (
                    estimate(own[way]),
                    difference(own[way]["against_majority"]),
                    cell(p_value(own[way]["against_majority"]["p"])),
                )
            ),
            cell(number(own["entropy"]["value"])),
        ]
        for name, own in found["votes"].items()
    ]
    columns = ["model", f"majority of {found['k']}"]
    columns += [name for way in ways for name in (VOTES[way], "against majority", "p")]
    caption = (
        "Votes at test time, against the plain majority by paired bootstrap; entropy of a question's answers in nats"
    )
    yield table([*columns, "entropy"], rows, caption=caption)


def format_and_length(summary: dict[str, Any]) -> Iterable[Block]:
    for name, found in sets_of(summary).items():
        yield from set_title(summary, name)
        yield _formats(found)
    yield text(
        "Unmarked: for want of a marked answer, what the last sentence says was taken. A gain in strict accuracy without one in "
        "flexible accuracy is a gain in format, not in mathematics. Wrong sum: a sum written out, such as 48/2 = 26, does not hold."
    )
    faults = {
        f"{label(m['name'])} ({name})": sum(f["faults"] for f in m["format"].values())
        for name, found in sets_of(summary).items()
        for m in found["models"]
    }
    if told := ", ".join(f"{name} {number(count)}" for name, count in faults.items() if count):
        yield text(f"The verifier failed on answers of {told}: these count as wrong. The log says why.")
    few = few_models(summary["models"])
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


def _formats(found: dict[str, Any]) -> Block:
    k, rows = found["k"], []
    thinks = any(m["format"][kind]["thinking_mean"] for m in found["models"] for kind in ("greedy", "sampled"))
    for m in found["models"]:
        for kind, strict, flexible in (("greedy", "greedy", "flexible"), ("sampled", "mean", "flexible_mean")):
            f = m["format"][kind]
            rows.append(
                [
                    cell(label(m["name"])),
                    cell(kind if kind == "greedy" else f"{k} samples"),
                    estimate(m[strict]),
                    estimate(m[flexible]),
                    *(
                        cell(percent(f[key]))
                        for key in ("well_formed", "fallback", "no_answer", "truncated", "wrong_sum")
                    ),
                    cell(number(f["tokens_mean"], 0), f"median {number(f['tokens_median'], 0)}"),
                    cell(number(f["tokens_p95"], 0), f"longest {number(f['tokens_max'])}"),
                    cell(number(f["tokens_correct"], 0)),
                    cell(number(f["tokens_wrong"], 0)),
                    *([cell(number(f["thinking_mean"], 0))] if thinks else []),
                ]
            )
    columns = ["model", "answers", "strict", "flexible", "well formed", "unmarked", "no answer", "truncated"]
    columns += ["wrong sum", "tokens", "95% up to", "if right", "if wrong", *(["of them thought"] if thinks else [])]
    return table(columns, rows, left=2)


def styles(summary: dict[str, Any]) -> Iterable[Block]:
    for name, found in sets_of(summary).items():
        rows = [
            [
                cell(style),
                cell(label(m["name"])),
                cell(number(own["n"])),
                estimate(own["greedy"]),
                estimate(own["mean"]),
                estimate(own["flexible"]),
                cell(number(own["tokens"], 0)),
            ]
            for style in found["models"][0]["styles"]
            for m in found["models"]
            if (own := m["styles"].get(style))
        ]
        columns = ["style", "model", "questions", "greedy", f"mean of {found['k']}", "flexible", "tokens"]
        yield from set_title(summary, name)
        yield table(columns, rows, caption="Evaluation by the style of the prompt", left=2)


def flips(summary: dict[str, Any]) -> Iterable[Block]:
    every = [(name, flip) for name, found in sets_of(summary).items() for flip in found["flips"]]
    shown = sum(len(flip[kind]["shown"]) for _, flip in every for kind in ("gained", "lost"))
    limit = min(CASE_LENGTH[1], max(CASE_LENGTH[0], CASE_BUDGET // (2 * shown))) if shown else 0
    for name, flip in every:
        names = [label(flip[side]) for side in ("against", "model")]
        yield title(f"From {names[0]} to {names[1]}{f' on {name}' if summary['other_sets'] else ''}")
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
            + (f", {out['thinking_tokens']} of them thought" if out["thinking_tokens"] else "")
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


def _mean_outcome(comparison: dict[str, Any], k: int) -> str:
    mean = comparison["mean"]
    same = mean["outcome"] == comparison["greedy"]["outcome"]
    return "" if same or k == 1 else f"mean of {k}: {OUTCOMES[mean['outcome']]} ({equals(mean['p'])})"


def _few(comparisons: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Where there are many rounds, each against the one before, and the last against all."""
    if len(comparisons) <= 2 * MOST_LINES:
        return comparisons
    last = comparisons[-1]["model"]
    return [c for c in comparisons if "before" in c["relation"] or c["model"] == last][-2 * MOST_LINES :]


def few_models(models: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return models if len(models) <= MOST_LINES else models[:2] + models[-(MOST_LINES - 2) :]
