"""A number of pairs or samples in all: which go, and how they are counted."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from helpers import demo_config
from training_inputs import PROMPTS

from regime_w.method.draws import over_total
from regime_w.runtime.records import read_jsonl
from regime_w.runtime.seals import write_jsonl
from regime_w.tasks.prompts import text_forms
from regime_w.training.preferences import build
from scripts.build_samples import build as build_samples

QUESTIONS = 6


def test_every_questions_first_stays_before_any_second() -> None:
    examples = [("a", 30), ("a", 30), ("b", 10), ("b", 10), ("c", 20)]
    assert over_total(examples, None) == over_total(examples, 5) == set()
    assert over_total(examples, 4) == {1}  # the second of the higher draw
    assert over_total(examples, 3) == {1, 3}
    assert over_total(examples, 1) == {0, 1, 3, 4}  # the lowest draw is left


def rollouts(folder: Path, correct: int, wrong: int) -> Path:
    """Questions with so many right and wrong trajectories each, all different."""
    outs = [
        {
            "full_text": f"{chr(97 + place) * 20}\n#### {7 if place < correct else 8}",
            "answer": "7" if place < correct else "8",
            "correct": place < correct,
            "reward": float(place < correct),
            "num_tokens": 10 + place,
            "finish_reason": "stop",
            "style": "wolfram",
            "arm": f"arm{place}",
            "extraction": "hash",
            "support": 0.5 if place < correct else 0.125 * place,
        }
        for place in range(correct + wrong)
    ]
    rows = [{"id": f"q{n}", "question": "?", "gold_answer": "7", "trajectories": outs} for n in range(QUESTIONS)]
    path = folder / f"rollouts{correct}{wrong}.jsonl"
    write_jsonl(path, rows)
    return path


def pairs(path: Path, most: int | None, **more: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    own = demo_config()["pairs"] | {"policy": "capped", "per_question": 3, "max_pairs": most, **more}
    params = {**PROMPTS, "seed": 5, "pairs": own}
    output = path.with_name("preferences.jsonl")
    report = build(path, params, text_forms(params, None, {}), output)
    return read_jsonl(output), report


@pytest.mark.parametrize("most", [4, 6, 13, 18, 100])
def test_pairs_are_drawn_over_the_questions_and_what_is_left_out_is_counted(tmp_path: Path, most: int) -> None:
    path = rollouts(tmp_path, 2, 2)
    everything, whole = pairs(path, None)
    assert (whole["kept"], whole["dropped"]["max_pairs"]) == (3 * QUESTIONS, 0)
    kept, report = pairs(path, most)
    assert len(kept) == report["kept"] == sum(report["kept_by_type"].values()) == min(most, 3 * QUESTIONS)
    assert [row for row in everything if row in kept] == kept  # in their order
    each = Counter(row["id"] for row in kept)
    counts = [each[f"q{n}"] for n in range(QUESTIONS)]
    assert max(counts) - min(counts) <= 1
    assert report["dropped"]["max_pairs"] == whole["kept"] - len(kept)
    assert report["candidates"] == report["kept"] + sum(report["dropped"].values()) == whole["candidates"]
    assert report["questions_with_pairs"] == len(each)
    assert report["questions"] == len(each) + sum(report["no_pair_reasons"].values())
    assert report["chosen_tokens_mean"] == pytest.approx(
        sum(row["chosen_tokens"] for row in kept) / len(kept), abs=0.05
    )
    assert pairs(path, most)[0] == kept


def test_recipes_with_other_pairs_are_drawn_the_same_questions(tmp_path: Path) -> None:
    some, _ = pairs(rollouts(tmp_path, 2, 2), 3)
    others, _ = pairs(rollouts(tmp_path, 1, 3), 3)
    assert {row["id"] for row in some} == {row["id"] for row in others}
    assert some != others


def test_weights_of_the_pairs_that_are_left_have_the_mean_1(tmp_path: Path) -> None:
    kept, _ = pairs(rollouts(tmp_path, 2, 2), 7, weight="margin")
    weights = [row["weight"] for row in kept]
    assert len(set(weights)) > 1
    assert sum(weights) / len(weights) == pytest.approx(1, abs=1e-5)


def test_samples_are_drawn_over_the_questions(tmp_path: Path) -> None:
    path, output = rollouts(tmp_path, 3, 1), tmp_path / "samples.jsonl"
    own = demo_config()["rejection_sampling"] | {"per_question": 2}

    def made(most: int | None) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        params = {**PROMPTS, "seed": 5, "rejection_sampling": own | {"max_samples": most}}
        report = build_samples(path, params, text_forms(params, None, {}), output)
        return read_jsonl(output), report

    everything, whole = made(None)
    assert whole["kept"] == len(everything) == 2 * QUESTIONS
    kept, report = made(8)
    assert [row for row in everything if row in kept] == kept
    assert sorted(Counter(row["id"] for row in kept).values()) == [1, 1, 1, 1, 2, 2]
    assert report["dropped"] == whole["dropped"] | {"max_samples": 4}
    assert report["correct"] == report["kept"] + sum(report["dropped"].values()) == 3 * QUESTIONS
    assert report["tokens_mean"] == pytest.approx(sum(row["tokens"] for row in kept) / 8, abs=0.05)
    # DPO's pairs are of the same questions.
    assert {row["id"] for row in made(2)[0]} == {row["id"] for row in pairs(rollouts(tmp_path, 2, 2), 2)[0]}
