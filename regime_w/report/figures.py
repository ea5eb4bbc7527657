"""The plots, as inline SVG whose colours are the page's (light and dark) and whose texts stay texts.

Each function takes parts of the summary and returns SVG markup; the same numbers give the same bytes.
"""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from regime_w.report.format import clean
from regime_w.report.format import label as full_label

# Variable of the page's style and the colour that stands for it while matplotlib draws.
INK, MUTED, LINE, SURFACE = "#1c2127", "#66707c", "#dfe3e8", "#fefefe"
SERIES = ("#2b6cd4", "#c8620a", "#12806a", "#8a4cc4", "#b8324f", "#7a6a12")
VARIABLES = {INK: "--ink", MUTED: "--muted", LINE: "--line", SURFACE: "--surface"} | {
    colour: f"--s{index}" for index, colour in enumerate(SERIES, 1)
}
PERCENT = FuncFormatter(lambda value, _: f"{round(100 * value, 2):g}%")
MARKERS = ("o", "s", "D", "^", "v", "P")
LONGEST = 26  # characters of a name from outside
WIDTH = 5.4  # inches at 72 points; 389 units across, about a phone's width
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.labelsize": 10,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "legend.fontsize": 10,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.edgecolor": LINE,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "legend.handletextpad": 0.4,
    "legend.columnspacing": 1.4,
    "lines.linewidth": 1.8,
    "figure.constrained_layout.use": True,
}


def short(text: str) -> str:
    text = " ".join(clean(text).split())
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def label(name: str) -> str:
    return short(full_label(name))


def accuracy(models: list[dict[str, Any]], name: str) -> str:
    """Greedy, mean of k, majority of k and pass@k of every model, each with its interval."""
    k = models[0]["k"]
    metrics = {
        "greedy": [m["greedy"] for m in models],
        f"mean of {k}": [m["mean"] for m in models],
        f"majority of {k}": [m["majority"] for m in models],
        f"pass@{k}": [m["pass"][str(k)] for m in models],
    }
    with canvas(3.1) as (figure, axes):
        for index, (metric, estimates) in enumerate(metrics.items()):
            places = [place + (index - 1.5) * 0.15 for place in range(len(models))]
            _estimates(axes, places, estimates, SERIES[index], MARKERS[index], metric)
        _model_ticks(axes, models)
        axes.yaxis.set_major_formatter(PERCENT)
        _legend(figure, axes)
        return svg(figure, name)


def differences(comparisons: list[dict[str, Any]], k: int, name: str) -> str:
    """Paired differences with intervals, greedy and mean of k; an interval across zero is no change."""
    with canvas(1.2 + 0.42 * len(comparisons)) as (figure, axes):
        for index, (metric, key) in enumerate((("greedy", "greedy"), (f"mean of {k}", "mean"))):
            for place, comparison in enumerate(comparisons):
                found = comparison[key]
                axes.errorbar(
                    100 * found["difference"],
                    place + (index - 0.5) * 0.24,
                    xerr=_bars(found, found["difference"], 100),
                    fmt=MARKERS[index],
                    color=SERIES[index],
                    markersize=6,
                    elinewidth=2,
                    label=metric if place == 0 else None,
                )
        axes.axvline(0, color=MUTED, linewidth=1)
        axes.set_yticks(range(len(comparisons)), [f"{label(c['model'])} vs {label(c['against'])}" for c in comparisons])
        axes.set_ylim(len(comparisons) - 0.5, -0.5)
        axes.grid(axis="x")
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("difference, percentage points")
        _legend(figure, axes)
        return svg(figure, name)


def forest(tests: list[tuple[str, dict[str, Any]]], name: str) -> str:
    """Paired differences of many recipes from one, best first; an interval across zero is no change."""
    with canvas(0.8 + 0.26 * len(tests)) as (figure, axes):
        for place, (_, found) in enumerate(tests):
            colour = MUTED if found["outcome"] == "unchanged" else SERIES[0]
            axes.errorbar(
                100 * found["difference"],
                place,
                xerr=_bars(found, found["difference"], 100),
                fmt="o",
                color=colour,
                markersize=5,
                elinewidth=2,
            )
        axes.axvline(0, color=MUTED, linewidth=1)
        axes.set_yticks(range(len(tests)), [short(title) for title, _ in tests])
        axes.set_ylim(len(tests) - 0.5, -0.5)
        axes.grid(axis="x")
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("difference, percentage points")
        return svg(figure, name)


def learning_curves(curves: dict[str, list[dict[str, Any]]], name: str) -> str:
    """Mean of k after each round, a line a recipe."""
    with canvas(3.1) as (figure, axes):
        for index, (title, line) in enumerate(curves.items()):
            places = [point["round"] + (index - (len(curves) - 1) / 2) * 0.03 for point in line]
            colour, marker = SERIES[index % len(SERIES)], MARKERS[index % len(MARKERS)]
            axes.plot(
                places,
                [p["mean"]["value"] for p in line],
                color=colour,
                linestyle=_dashes(index // len(SERIES)),
                alpha=0.6,
            )
            _estimates(axes, places, [point["mean"] for point in line], colour, marker, short(title))
        axes.set_xlabel("round")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_formatter(PERCENT)
        handles, titles = axes.get_legend_handles_labels()
        figure.legend(handles, titles, loc="outside upper left", ncols=2, borderaxespad=0.2)
        return svg(figure, name)


def pass_at_k(models: list[dict[str, Any]], name: str) -> str:
    with canvas(2.9) as (figure, axes):
        for index, model in enumerate(models):
            sizes = [int(k) for k in model["pass"]]
            colour = _model_colour(index)
            axes.plot(
                sizes,
                [e["value"] for e in model["pass"].values()],
                color=colour,
                marker=MARKERS[index % len(MARKERS)],
                label=label(model["name"]),
            )
            low, high = ([e[side] for e in model["pass"].values()] for side in ("low", "high"))
            axes.fill_between(sizes, low, high, color=colour, alpha=0.14, linewidth=0)
        axes.set_xscale("log", base=2)
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.minorticks_off()
        axes.set_xlabel("k")
        axes.yaxis.set_major_formatter(PERCENT)
        _legend(figure, axes)
        return svg(figure, name)


def answer_format(models: list[dict[str, Any]], name: str) -> str:
    """Strict and flexible accuracy beside the share of well-formed answers (greedy)."""
    with canvas(3.1) as (figure, axes):
        bars = {
            "strict": [m["greedy"]["value"] for m in models],
            "flexible": [m["flexible"]["value"] for m in models],
            "well formed": [m["format"]["greedy"]["well_formed"] for m in models],
        }
        for index, (name_, values) in enumerate(bars.items()):
            places = [place + (index - 1) * 0.26 for place in range(len(models))]
            colour, alpha = ((SERIES[0], 1), (SERIES[1], 1), (MUTED, 0.45))[index]
            axes.bar(places, values, width=0.23, color=colour, alpha=alpha, label=name_)
        _model_ticks(axes, models)
        axes.set_ylim(0, 1)
        axes.yaxis.set_major_formatter(PERCENT)
        _legend(figure, axes)
        return svg(figure, name)


def labels(ways: dict[str, list[dict[str, Any]]], name: str) -> str:
    """Precision over coverage of labels without gold, a line a way and a dot a threshold."""
    with canvas(3.3) as (figure, axes):
        for index, (way, rows) in enumerate(ways.items()):
            given = [row for row in rows if row["labels"]]
            axes.plot(
                [row["coverage"] for row in given],
                [row["precision"] for row in given],
                color=SERIES[index % len(SERIES)],
                marker=MARKERS[index % len(MARKERS)],
                markersize=4,
                linestyle=_dashes(index // len(SERIES)),
                label=short(way),
            )
        axes.set_xlabel("coverage")
        axes.set_ylabel("precision")
        axes.xaxis.set_major_formatter(PERCENT)
        axes.yaxis.set_major_formatter(PERCENT)
        handles, titles = axes.get_legend_handles_labels()
        figure.legend(handles, titles, loc="outside upper left", ncols=3, borderaxespad=0.2)
        return svg(figure, name)


def lengths(models: list[dict[str, Any]], name: str) -> str:
    """Share of greedy answers up to a length."""
    with canvas(2.8) as (figure, axes):
        for index, model in enumerate(models):
            quantiles = model["length_quantiles"]
            shares = [position / (len(quantiles) - 1) for position in range(len(quantiles))]
            axes.plot(
                quantiles, shares, color=_model_colour(index), linestyle=_dashes(index), label=label(model["name"])
            )
        axes.set_xlabel("tokens")
        axes.set_ylim(0, 1.02)
        axes.yaxis.set_major_formatter(PERCENT)
        _legend(figure, axes)
        return svg(figure, name)


def arms(found: dict[str, dict[str, Any]], name: str) -> str:
    """Accuracy of each arm over its temperature, a line a style."""
    styles: dict[str, list[dict[str, Any]]] = {}
    for arm in found.values():
        styles.setdefault(str(arm["style"]), []).append(arm)
    with canvas(3.1) as (figure, axes):
        for index, (style, own) in enumerate(styles.items()):
            own = sorted(own, key=lambda arm: arm["temperature"] or 0)
            places = [(arm["temperature"] or 0) + (index - (len(styles) - 1) / 2) * 0.006 for arm in own]
            colour, marker = SERIES[index % len(SERIES)], MARKERS[index % len(MARKERS)]
            axes.plot(places, [arm["accuracy"]["value"] for arm in own], color=colour, linewidth=1.2, alpha=0.6)
            _estimates(axes, places, [arm["accuracy"] for arm in own], colour, marker, short(style))
        axes.set_xticks(sorted({arm["temperature"] or 0 for arm in found.values()}))
        axes.set_xlabel("temperature")
        axes.yaxis.set_major_formatter(PERCENT)
        _legend(figure, axes)
        return svg(figure, name)


def correct_per_question(counts: dict[str, int], name: str) -> str:
    with canvas(3.1) as (figure, axes):
        ends = (min(counts, key=int), max(counts, key=int))
        colours = [MUTED if key in ends else SERIES[0] for key in counts]
        bars = axes.bar([int(key) for key in counts], list(counts.values()), width=0.75, color=colours)
        for place in (0, -1):
            bars[place].set_alpha(0.5)
        axes.bar_label(bars, fontsize=9, color=MUTED, padding=2)
        axes.set_xticks([int(key) for key in counts])
        axes.set_xlabel("correct trajectories of a question")
        axes.set_ylabel("questions")
        axes.margins(y=0.12)
        return svg(figure, name)


def calibration(bins: list[dict[str, Any]], name: str) -> str:
    """Share correct by coherence; a dot's area is the number of trajectories."""
    with canvas(3.1) as (figure, axes):
        places = [(b["low"] + b["high"]) / 2 for b in bins]
        values, most = [b["accuracy"] for b in bins], max(b["n"] for b in bins)
        axes.plot(places, values, color=SERIES[0], linewidth=1.4, alpha=0.6)
        axes.scatter(places, values, s=[20 + 180 * b["n"] / most for b in bins], color=SERIES[0], zorder=3)
        axes.set_xlim(0, 1)
        axes.set_ylim(-0.04, 1.06)
        axes.set_xlabel("coherence s_wm of a trajectory")
        axes.set_ylabel("correct")
        axes.yaxis.set_major_formatter(PERCENT)
        return svg(figure, name)


def pairs(kept: dict[str, int], dropped: dict[str, int], name: str) -> str:
    """Candidates kept by type and dropped by reason; those that never occurred are left out."""
    rows = [(f"kept: {short(key)}", count, SERIES[0]) for key, count in kept.items() if count]
    rows += [(f"dropped: {short(key.replace('_', ' '))}", count, MUTED) for key, count in dropped.items() if count]
    with canvas(0.7 + 0.3 * len(rows)) as (figure, axes):
        bars = axes.barh(range(len(rows)), [row[1] for row in rows], height=0.66, color=[row[2] for row in rows])
        for bar, row in zip(bars, rows, strict=True):
            bar.set_alpha(1 if row[2] != MUTED else 0.5)
        axes.bar_label(bars, labels=[f"{row[1]:,}" for row in rows], fontsize=9, color=MUTED, padding=3)
        axes.set_yticks(range(len(rows)), [row[0] for row in rows])
        axes.invert_yaxis()
        axes.grid(axis="x")
        axes.grid(visible=False, axis="y")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.margins(x=0.12)
        return svg(figure, name)


def training(curves: dict[str, list[list[float]]], name: str) -> str:
    """Loss, and for DPO margins, accuracies and log-probabilities, over optimiser steps."""
    panels = {
        "loss": ["loss"],
        "reward margin": ["rewards/margins"],
        "reward accuracy": ["rewards/accuracies"],
        "log-probability (nats)": ["logps/chosen", "logps/rejected"],
    }
    shown = {title: own for title, keys in panels.items() if (own := [key for key in keys if key in curves])}
    columns = min(2, len(shown))
    rows = -(-len(shown) // columns)
    with plt.rc_context(STYLE):
        figure, grid = plt.subplots(rows, columns, figsize=(WIDTH, 0.4 + 1.8 * rows), squeeze=False)
        try:
            for place in grid.flat[len(shown) :]:
                place.set_visible(False)
            for axes, (title, keys) in zip(grid.flat, shown.items(), strict=False):
                for index, key in enumerate(keys):
                    steps, values = zip(*curves[key], strict=True)
                    colour = (SERIES[0], SERIES[1])[index]
                    marker = "o" if len(steps) < 3 else None
                    axes.plot(
                        steps,
                        values,
                        color=colour,
                        marker=marker,
                        linestyle=_dashes(index),
                        label=key.rpartition("/")[2],
                    )
                axes.set_title(title, loc="left")
                axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
                if len(keys) > 1:
                    axes.legend(loc="best", handlelength=1.4)
            for axes in grid[-1]:
                axes.set_xlabel("step")
            return svg(figure, name)
        finally:
            plt.close(figure)


def costs(rows: list[tuple[str, float]], unit: str, name: str) -> str:
    """Where the time went, by stage."""
    with canvas(0.7 + 0.28 * len(rows)) as (figure, axes):
        bars = axes.barh(range(len(rows)), [value for _, value in rows], height=0.66, color=SERIES[0])
        axes.bar_label(bars, labels=[f"{value:.3g}" for _, value in rows], fontsize=9, color=MUTED, padding=3)
        axes.set_yticks(range(len(rows)), [short(title) for title, _ in rows])
        axes.invert_yaxis()
        axes.grid(axis="x")
        axes.grid(visible=False, axis="y")
        axes.set_xlabel(unit)
        axes.margins(x=0.12)
        return svg(figure, name)


@contextmanager
def canvas(height: float) -> Iterator[tuple[Figure, Axes]]:
    """A figure of one plot, `height` in inches, in the page's style."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(WIDTH, height))
        try:
            yield figure, axes
        finally:
            plt.close(figure)


def svg(figure: Figure, name: str) -> str:
    """SVG markup without dates, namespaces and fixed size; ids begin with `name`, so that figures share a page."""
    name = re.sub(r"[^A-Za-z0-9-]", "", name)
    buffer = io.StringIO()
    with plt.rc_context({"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Type": None, "Format": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.DOTALL)
    head, body = text.split(">", 1)
    box = re.search(r'viewBox="[^"]*"', head)
    used = set(re.findall(r'(?:url\(#|href="#)([^")]+)', body))
    body = re.sub(r' id="([^"]*)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in used else "", body)
    body = re.sub(r'(url\(#|href="#)', rf"\1{name}-", body)
    for colour, variable in VARIABLES.items():
        body = body.replace(colour, f"var({variable})")
    body = re.sub(r"(\d+\.\d\d)\d+", r"\1", body)
    return f'<svg {box[0] if box else ""} aria-hidden="true">{body}'


def _estimates(
    axes: Axes, places: list[float], estimates: list[dict[str, float]], colour: str, marker: str, title: str
) -> None:
    bars = list(zip(*(_bars(e, e["value"], 1) for e in estimates), strict=True))
    axes.errorbar(
        places,
        [e["value"] for e in estimates],
        yerr=[[low[0] for low in bars[0]], [high[0] for high in bars[1]]],
        fmt=marker,
        color=colour,
        markersize=6,
        elinewidth=2,
        label=title,
    )


def _bars(estimate: dict[str, float], middle: float, scale: float) -> tuple[list[float], list[float]]:
    return [scale * max(0.0, middle - estimate["low"])], [scale * max(0.0, estimate["high"] - middle)]


def _model_ticks(axes: Axes, models: list[dict[str, Any]]) -> None:
    step = -(-len(models) // 8)
    places = sorted({*range(0, len(models), step), len(models) - 1})
    axes.set_xticks(places, [label(models[place]["name"]) for place in places])
    axes.set_xlim(-0.5, len(models) - 0.5)


def _model_colour(index: int) -> str:
    """The first model, the base, is grey."""
    return MUTED if index == 0 else SERIES[(index - 1) % len(SERIES)]


def _dashes(index: int) -> Any:
    return ("solid", (0, (5, 2)), (0, (2, 1.5)), (0, (6, 2, 1.5, 2)))[index % 4]


def _legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=4, borderaxespad=0.2)
