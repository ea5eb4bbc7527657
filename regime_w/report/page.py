"""The summary as the page's sections, each a list of blocks (see blocks.py)."""

from collections.abc import Callable, Iterable
from typing import Any

from regime_w.report.blocks import Block, text
from regime_w.report.page_models import flips, format_and_length, overview, styles, tests
from regime_w.report.page_rounds import coherence, examples, labels, rollouts, training
from regime_w.report.page_run import cost, data, provenance
from regime_w.report.verdict import notes_of

Section = dict[str, Any]


def page(summary: dict[str, Any]) -> list[Section]:
    """The sections that have something to show, each after the notes on it."""
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
    notes: dict[str, list[Block]] = {}
    for section, _, note in notes_of(*(summary[key] for key in ("models", "comparisons", "rollouts", "other_sets"))):
        notes.setdefault(section, []).append(text(note))
    made = [
        {"id": identity, "title": title, "blocks": [*notes.get(identity, []), *make(summary)]}
        for identity, title, make in makers
    ]
    return [section for section in made if section["blocks"]]
