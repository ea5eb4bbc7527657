"""The summary as the page's sections, each a list of blocks (see blocks.py)."""

from collections.abc import Callable, Iterable
from typing import Any

from regime_w.report.blocks import Block
from regime_w.report.page_models import flips, format_and_length, overview, styles, tests
from regime_w.report.page_rounds import coherence, examples, labels, rollouts, training
from regime_w.report.page_run import cost, data, provenance

Section = dict[str, Any]


def page(summary: dict[str, Any]) -> list[Section]:
    """The sections that have something to show; the first one is the top of the page."""
    makers: list[tuple[str, str, Callable[[dict[str, Any]], Iterable[Block]]]] = [
        ("overview", "Overview", overview),
        ("tests", "Tests", tests),
        ("format", "Format and length", format_and_length),
        ("styles", "Styles", styles),
        ("rollouts", "Rollouts", rollouts),
        ("labels", "Labels", labels),
        ("coherence", "Coherence", coherence),
        ("pairs", "Pairs and samples", examples),
        ("training", "Training", training),
        ("flips", "Flips", flips),
        ("data", "Data", data),
        ("cost", "Time and cost", cost),
        ("provenance", "Provenance", provenance),
    ]
    made = [{"id": identity, "title": title, "blocks": list(make(summary))} for identity, title, make in makers]
    return [section for section in made if section["blocks"]]
