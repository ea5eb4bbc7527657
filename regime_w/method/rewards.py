"""The reward of a trajectory: correctness first, then coherence, less a penalty for length.

reward = alpha * correct + beta * s_wm - lambda_length * max(0, num_tokens - length_limit)
"""

import math


def reward(
    correct: float,
    s_wm: float,
    num_tokens: int,
    *,
    alpha: float,
    beta: float,
    lambda_length: float,
    length_limit: int,
) -> float:
    """`correct` is 1 or 0, or the verifier's score; `lambda_length` is per token over `length_limit`; s_wm is in [0, 1]."""
    return alpha * correct + beta * s_wm - lambda_length * max(0, num_tokens - length_limit)


def check_weights(*, alpha: float, beta: float, lambda_length: float, length_limit: int, max_tokens: int) -> None:
    """ValueError where a wrong answer could outrank a correct one, or a weight is negative or not finite.

    Of scores: where 0 could outrank 1; closer ones can, and such pairs are dropped (method/pairs.py). The worst case: the
    correct answer is `max_tokens` long and agrees with nobody, the wrong one is short and all agree.
    """
    for name, weight in (("alpha", alpha), ("beta", beta), ("lambda_length", lambda_length)):
        if not (math.isfinite(weight) and weight >= 0):
            raise ValueError(f"reward.{name} must be a number of at least 0, found {weight}")
    penalty = lambda_length * max(0, max_tokens - length_limit)
    if alpha <= beta + penalty:
        raise ValueError(
            f"a wrong answer could outrank a correct one: reward.alpha {alpha:g} must exceed reward.beta {beta:g} "
            f"+ {penalty:g}, the length penalty at {max_tokens} tokens; raise alpha or length_limit, lower the others"
        )
