"""The quoted figures are those of the records beside them: graded again from the texts, then counted again."""

import gzip
import json
import re

import pytest
from helpers import ROOT

from scripts.engines.interface import Completion
from scripts.evaluate import grade
from scripts.report.evaluation import Settings, model_row

SETTINGS = Settings(level=0.95, n_boot=10_000, seed=0)
RESULTS = (ROOT / "docs/RESULTS.md").read_text(encoding="utf-8")


def graded_again(row):
    def again(out):
        completion = Completion("", out["text"], out["num_tokens"], out["finish_reason"])
        return grade(completion, out["seed"], row["gold_answer"])

    return row | {"greedy": again(row["greedy"]), "samples": [again(out) for out in row["samples"]]}


def table_row(name, found):
    share = found["format"]["greedy"]["well_formed"]
    measures = [found["greedy"], found["mean"], found["majority"], found["pass"]["8"]]
    cells = [f"{m['value']:.1%} ({100 * m['low']:.1f} to {100 * m['high']:.1f})" for m in measures]
    return re.sub(r"(?<=\d)%", " %", " | ".join([f"| {name}", *cells, f"{share:.1%} |"]))


@pytest.mark.parametrize(("model", "name"), [("base", "base"), ("sft", "SFT"), ("round1", "round 1")])
def test_smollm2_table(model, name):
    with gzip.open(ROOT / f"docs/results/smollm2/{model}.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    again = [graded_again(row) for row in rows]
    assert again == rows
    assert table_row(name, model_row(model, again, SETTINGS)) in RESULTS
