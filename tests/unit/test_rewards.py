"""Rewards: monotone in each part, and weights under which no wrong answer beats a correct one."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from regime_w.method.rewards import check_weights, reward

DEFAULTS = {"alpha": 1.0, "beta": 0.5, "lambda_length": 0.001, "length_limit": 512}
SHARE = st.floats(0, 1)
TOKENS = st.integers(0, 4096)


def test_by_hand() -> None:
    assert reward(True, 0.5, 512, **DEFAULTS) == 1.25
    assert reward(False, 0.5, 612, **DEFAULTS) == pytest.approx(0.15)


@given(SHARE, SHARE, TOKENS, TOKENS)
def test_monotone(low: float, high: float, short: int, long: int) -> None:
    low, high, short, long = min(low, high), max(low, high), min(short, long), max(short, long)
    assert reward(True, low, short, **DEFAULTS) > reward(False, low, short, **DEFAULTS)
    assert reward(True, low, short, **DEFAULTS) <= reward(True, high, short, **DEFAULTS)
    assert reward(True, low, short, **DEFAULTS) >= reward(True, low, long, **DEFAULTS)


def test_the_defaults_hold_up_to_1011_tokens() -> None:
    check_weights(**DEFAULTS, max_tokens=1011)
    with pytest.raises(ValueError, match=r"a wrong answer could outrank a correct one.*raise alpha"):
        check_weights(**DEFAULTS, max_tokens=1012)


@pytest.mark.parametrize(
    "wrong", [{"alpha": 0.5}, {"beta": -1.0}, {"lambda_length": float("nan")}, {"alpha": float("inf")}]
)
def test_bad_weights_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"reward\."):
        check_weights(**(DEFAULTS | wrong), max_tokens=256)


@given(st.floats(0, 10), st.floats(0, 10), st.floats(0, 0.1), TOKENS, TOKENS, SHARE, SHARE, TOKENS, TOKENS)
def test_accepted_weights_put_correctness_first(
    alpha: float, beta: float, cost: float, limit: int, most: int, s_correct: float, s_wrong: float, n: int, m: int
) -> None:
    weights = {"alpha": alpha, "beta": beta, "lambda_length": cost, "length_limit": limit}
    assume(n <= most and m <= most)
    try:
        check_weights(**weights, max_tokens=most)
    except ValueError:
        assume(False)
    assert reward(True, s_correct, n, **weights) >= reward(False, s_wrong, m, **weights)
