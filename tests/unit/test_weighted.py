"""Votes with weights: by coherence, by sums that hold; the entropy of answers and the alarm on collapse."""

import math
import random
from typing import Any

import pytest

from regime_w.method.votes import majority_right
from regime_w.method.weighted import answer_entropy, coherence_weights, weighted_right
from regime_w.report.evaluation import Settings, compare
from regime_w.report.voting import collapse_told, collapses, votes

COHERENCE = {"s_end": 0.4, "s_path": 0.3, "s_cf": 0.3, "path_mix": 0.5}


def out(answer: str, gold: str = "7", text: str = "", **more: Any) -> dict[str, Any]:
    place = {"extraction": "hash", "finish_reason": "stop", "wrong_sum": False, "text": text or f"#### {answer}"}
    return {"answer": answer, "correct": answer == gold, **place, **more}


def test_the_answer_with_the_most_weight_wins_and_ties_count_by_expectation() -> None:
    outs = [out("8"), out("8"), out("7")]
    assert weighted_right(outs, [1, 1, 1], "7") == majority_right(outs, "7") == 0
    assert weighted_right(outs, [0.1, 0.1, 0.3], "7") == 1
    assert weighted_right(outs, [0.1, 0.2, 0.3], "7") == 0.5  # 0.1 + 0.2 is 0.3
    assert weighted_right(outs, [0, 0, 0], "7") == majority_right(outs, "7")
    assert weighted_right([out("7", extraction="fallback")], [1], "7") == 0


def test_equal_weights_are_the_plain_majority() -> None:
    draw = random.Random(0)
    for _ in range(200):
        outs = [out(draw.choice("789")) for _ in range(5)]
        assert weighted_right(outs, [0.7] * 5, "7") == pytest.approx(majority_right(outs, "7"))


def test_coherence_breaks_a_tie_by_the_way_there() -> None:
    alike = [out("7", text="Take 3 and 4 eggs, 3+4 = 7.")] * 2
    apart = [out("8", text="One adds them all up slowly."), out("8", text="2*4 = 8 hens lay.")]
    weights = coherence_weights(alike + apart, COHERENCE)
    assert weights[:2] == pytest.approx([0.4 / 3 + 0.3] * 2)
    assert weighted_right(alike + apart, weights, "7") == 1
    assert majority_right(alike + apart, "7") == 0.5
    assert coherence_weights(alike, COHERENCE) == [1, 1]


def test_entropy_of_answers() -> None:
    assert answer_entropy([out("7")] * 3) == 0
    assert answer_entropy([out("7"), out("8")] * 2) == pytest.approx(math.log(2))
    assert answer_entropy([out("7"), out("7", extraction="fallback")]) == pytest.approx(math.log(2))


def rows(answers: str, number: int = 40) -> list[dict[str, Any]]:
    """Questions whose samples give these answers, their greedy answer the first one; gold is 7."""
    outs = [out(answer, weight=1.0) for answer in answers]
    own = {"gold_answer": "7", "greedy": outs[0], "samples": outs}
    return [{"id": f"q{place}", "question": "?"} | own for place in range(number)]


def test_votes_stand_beside_the_majority() -> None:
    settings = Settings(0.95, 500, 0)
    asked = rows("7788")
    for row in asked:
        row["samples"] = [each | {"wrong_sum": each["answer"] == "8"} for each in row["samples"]]
    own = votes({"base": asked}, settings)["base"]
    assert (own["majority"]["value"], own["coherence"]["value"], own["sums"]["value"]) == (0.5, 0.5, 1.0)
    assert own["sums"]["against_majority"]["outcome"] == "better"
    assert own["coherence"]["against_majority"]["outcome"] == "unchanged"


@pytest.mark.parametrize(
    ("before", "after", "fires"), [("7789", "8888", True), ("7789", "7777", False), ("7788", "8899", False)]
)
def test_a_policy_that_grows_sure_and_wrong_is_told(before: str, after: str, fires: bool) -> None:
    settings, models = Settings(0.95, 500, 0), {"sft": rows(before), "round1": rows(after)}
    for own in models.values():
        for row in own:
            row["greedy"] = row["greedy"] | {"text": "?"}
    compared = [compare("round1", models["round1"], "sft", models["sft"], ["before"], settings)]
    found = collapses(models, compared, settings)
    assert bool(found) is fires
    if fires:
        assert collapse_told(found[0]).startswith(
            "Collapse: round 1 agrees with itself more than SFT and is right less"
        )
