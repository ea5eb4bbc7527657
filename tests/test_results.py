"""The quoted figures are those of the records beside them: graded again from the texts, then counted again."""

import gzip
import json
import lzma
from itertools import groupby

import pytest
from helpers import ROOT

from scripts.engines.interface import Completion
from scripts.evaluate import grade
from scripts.report.evaluation import Settings, model_row

SETTINGS = Settings(level=0.95, n_boot=10_000, seed=0)
STUDY = Settings(level=0.95, n_boot=20_000, seed=0)
RESULTS = (ROOT / "docs/RESULTS.md").read_text(encoding="utf-8")


def graded_again(row):
    def again(out):
        completion = Completion("", out["text"], out["num_tokens"], out["finish_reason"])
        return grade(completion, out["seed"], row["gold_answer"])

    return row | {"greedy": again(row["greedy"]), "samples": [again(out) for out in row["samples"]]}


def share(measure):
    return f"{100 * measure['value']:.1f} % ({100 * measure['low']:.1f} to {100 * measure['high']:.1f})"


def table_row(name, found, columns=("greedy", "mean", "majority")):
    cells = [share(found[column]) for column in columns]
    well_formed = 100 * found["format"]["greedy"]["well_formed"]
    return " | ".join([f"| {name}", *cells, share(found["pass"]["8"]), f"{well_formed:.1f} % |"])


@pytest.mark.parametrize(("model", "name"), [("base", "base"), ("sft", "SFT"), ("round1", "round 1")])
def test_smollm2_table(model, name):
    with gzip.open(ROOT / f"docs/results/smollm2/{model}.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    again = [graded_again(row) for row in rows]
    assert again == rows
    assert table_row(name, model_row(model, again, SETTINGS)) in RESULTS


@pytest.fixture(scope="module")
def study():
    """Records of the study at the demo's size by part and recipe, graded again."""
    found = {}
    with lzma.open(ROOT / "docs/results/demo_study/records.jsonl.xz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    for (part, recipe), own in groupby(rows, key=lambda row: (row.pop("part"), row.pop("recipe"))):
        found[part, recipe] = list(own)
        assert [graded_again(row) for row in found[part, recipe]] == found[part, recipe]
    return found


def mean_of_k(rows):
    return [sum(out["correct"] for out in row["samples"]) / len(row["samples"]) for row in rows]


def heldout_row(recipe, study):
    row = model_row(recipe, study["heldout", recipe], STUDY)
    cells = [f"| {recipe}", share(row["mean"]), share(row["greedy"]), share(row["pass"]["8"])]
    for other in ("sft", "dpo"):
        found = STUDY.difference(*(mean_of_k(study["heldout", name]) for name in (recipe, other)))
        difference, low, high = (f"{100 * found[key]:+.1f}" for key in ("difference", "low", "high"))
        cells.append("" if recipe == other else f"{difference} ({low} to {high})")
    return " | ".join(cells) + " |"


def test_demo_study_on_heldout_questions(study):
    recipes = [recipe for part, recipe in study if part == "heldout"]
    assert len(recipes) == 21
    for recipe in recipes:
        assert heldout_row(recipe, study) in RESULTS


def test_demo_study_on_evaluation_questions(study):
    recipes = [recipe for part, recipe in study if part == "eval"]
    assert len(recipes) == 3
    for recipe in recipes:
        found = model_row(recipe, study["eval", recipe], STUDY)
        assert table_row(recipe, found, ("mean", "greedy", "majority")) in RESULTS
