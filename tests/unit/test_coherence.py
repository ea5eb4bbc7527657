"""Coherence: leave-one-out scores in [0, 1] whose question mean is the pairwise consistency rate."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regime_w.method.coherence import MAX_ITEMS, calculations, coherence, mean, words

WEIGHTS = {"s_end": 0.4, "s_path": 0.3, "s_cf": 0.3}
TRAJECTORY = st.tuples(
    st.none() | st.sampled_from(["1", "2", "3"]),
    st.text(max_size=40) | st.just("2 + 2 = 4 eggs"),
    st.sampled_from("wm"),
)


def test_by_hand() -> None:
    # Styles w w m m, the third answers otherwise, the fourth not at all; the first two reason word for word the same.
    scores = coherence(["4", "4", "5", None], ["2 + 2 = 4 eggs"] * 2 + ["five", "none"], list("wwmm"), WEIGHTS, 0.5)
    assert scores[0] == scores[1]
    assert scores[0][:3] == pytest.approx((1 / 3, 1.0, 0.0))
    assert scores[0].s_wm == pytest.approx(0.4 / 3 + 0.3)
    assert scores[2] == scores[3] == (0, 0, 0, 0)


def test_the_other_style_is_the_counterfactual() -> None:
    scores = coherence(["4", "5", "4", "4"], [""] * 4, list("wwmm"), WEIGHTS, 0.5)
    assert [score.s_cf for score in scores] == [1.0, 0.0, 0.5, 0.5]
    assert coherence(["4", "4"], ["", ""], ["w", "w"], WEIGHTS, 0.5)[0].s_cf == 0


def test_a_single_trajectory_has_nobody_to_agree_with() -> None:
    assert coherence(["4"], ["2 + 2"], ["w"], WEIGHTS, 0.5) == [(0, 0, 0, 0)]


def test_path_mix_weighs_calculations_against_wording() -> None:
    texts = ["We add 2 + 2 = 4", "They sum 2 + 2 = 4"]  # the same calculation in other words
    by_numbers, by_words = (coherence(["4", "4"], texts, ["w", "m"], WEIGHTS, mix)[0].s_path for mix in (1.0, 0.0))
    assert by_numbers == 1.0
    assert by_words == 0.0


def test_no_reasoning_is_no_agreement_in_reasoning() -> None:
    assert coherence(["4", "4"], ["", ""], ["w", "m"], WEIGHTS, 0.5)[0].s_path == 0


def test_calculations_leave_out_how_steps_are_numbered() -> None:
    text = "Step 1: 1,000 × 2.50 = $2500\n2. **bold** 7 − 3 = 4\n- a 3-day trip\n3.5 apples"
    assert calculations(text) == ["1000", "*", "2.5", "=", "2500", "7", "-", "3", "=", "4", "3", "3.5"]
    assert words("Two Eggs, 3x") == ["two", "eggs", "x"]
    assert len(words("a " * 10 * MAX_ITEMS)) == MAX_ITEMS


@given(st.lists(TRAJECTORY, min_size=1, max_size=8), st.floats(0, 1))
def test_scores_are_shares(trajectories: list[tuple[str | None, str, str]], path_mix: float) -> None:
    answers, reasonings, styles = map(list, zip(*trajectories, strict=True))
    scores = coherence(answers, reasonings, styles, WEIGHTS, path_mix)
    assert all(0 <= value <= 1 for score in scores for value in score)
    pairs = list(combinations(answers, 2))
    if pairs:
        rate = sum(a is not None and a == b for a, b in pairs) / len(pairs)
        assert mean(scores).s_end == pytest.approx(rate)
    backwards = coherence(answers[::-1], reasonings[::-1], styles[::-1], WEIGHTS, path_mix)
    for score, other in zip(scores, backwards[::-1], strict=True):
        assert score == pytest.approx(other)
