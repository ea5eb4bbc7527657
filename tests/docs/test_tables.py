"""Every table of the docs is what its records give."""

from pathlib import Path

import pytest
from helpers import ROOT

from docs.tables import PAGES, TABLES, benchmark, page
from regime_w.report.marks import tables_of
from regime_w.runtime.records import read_json


@pytest.mark.docs
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("path", [path for path in PAGES if tables_of(path.read_text())], ids=lambda path: path.name)
def test_tables_are_those_of_the_records(path: Path) -> None:
    assert page(path) == path.read_text(encoding="utf-8")


def test_every_table_is_on_a_page() -> None:
    assert set(TABLES) == {name for path in PAGES for name in tables_of(path.read_text())}


def test_rates_of_the_scaling_page_are_those_of_the_run() -> None:
    run, measured = benchmark("one_run"), read_json(ROOT / "docs/scaling.json")["measured"]
    mode, rollouts = run["modes"]["pipeline"], run["rollouts"]
    job = next(row["seconds"] for row in run["phases"] if row["phase"] == "generate")
    assert measured["tokens_per_second"]["value"] == round(mode["steady"]["tokens_per_second"])
    assert measured["tail_seconds"]["value"] == round(mode["tail"]["cost_seconds"], 1)
    assert measured["start_seconds"]["value"] == round(job - rollouts["seconds"], 1)
