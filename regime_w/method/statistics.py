"""Statistics of an evaluation: intervals, paired tests, pass@k, what difference could be seen at all."""

from collections.abc import Sequence
from itertools import pairwise
from math import comb
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats


class Difference(NamedTuple):
    """A mean difference with its interval and two-sided p value."""

    diff: float
    lo: float
    hi: float
    p: float


def wilson(k: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson score interval of the share k of n (Wilson 1927); (0, 1) for n = 0."""
    if n == 0:
        return 0.0, 1.0
    interval = stats.binomtest(k, n).proportion_ci(level, method="wilson")
    return float(interval.low), float(interval.high)


def mcnemar_exact(b: int, c: int) -> float:
    """Two-sided exact p value of McNemar's test for b and c discordant pairs (McNemar 1947); 1 where there are none."""
    return float(stats.binomtest(b, b + c).pvalue) if b + c else 1.0


def paired_bootstrap(
    a: ArrayLike, b: ArrayLike, n_boot: int = 10_000, seed: int = 0, level: float = 0.95
) -> Difference:
    """Mean of a - b over the questions, with its percentile interval (Efron & Tibshirani 1993, chapters 13 and 15).

    `a` and `b` hold one value a question, in one order. p is twice the share of resamples at or beyond 0 on the smaller
    side, each side with one resample added, so that it is never 0. ValueError for unequal lengths or no question.
    """
    differences = np.asarray(a, dtype=float) - np.asarray(b, dtype=float)
    if np.shape(a) != np.shape(b) or differences.ndim != 1 or differences.size == 0:
        raise ValueError(f"two equally long rows of values were expected, found shapes {np.shape(a)} and {np.shape(b)}")
    # Drawing how often each distinct difference comes up is the same as drawing questions, and far less work.
    values, counts = np.unique(differences, return_counts=True)
    rng = np.random.default_rng(seed)
    means = np.empty(n_boot)
    step = max(1, 2_000_000 // values.size)
    for start in range(0, n_boot, step):
        size = min(step, n_boot - start)
        drawn = rng.multinomial(differences.size, counts / differences.size, size=size)
        means[start : start + size] = drawn @ values / differences.size
    return of_resamples(float(differences.mean()), means, level)


def of_resamples(estimate: float, resamples: NDArray[np.float64], level: float = 0.95) -> Difference:
    """A difference with the percentile interval and p value of its bootstrap resamples (see `paired_bootstrap`)."""
    lo, hi = quantiles(resamples, level)
    # Sums that cancel leave rounding errors; they count as 0.
    means = np.where(np.abs(resamples) < 1e-12, 0.0, resamples)
    smaller = min(int((means <= 0).sum()), int((means >= 0).sum()))
    return Difference(estimate, lo, hi, min(1.0, 2 * (smaller + 1) / (means.size + 1)))


def quantiles(resamples: NDArray[np.float64], level: float = 0.95) -> tuple[float, float]:
    """Percentile interval of bootstrap resamples."""
    tail = (1 - level) / 2
    lo, hi = np.quantile(resamples, [tail, 1 - tail])
    return float(lo), float(hi)


def hierarchical_means(groups: Sequence[ArrayLike], n_boot: int = 10_000, seed: int = 0) -> NDArray[np.float64]:
    """Resampled means (groups, n_boot) of groups of trainings that answered the same questions.

    A group is (training seeds, questions). A resample draws questions, the same for all groups, so that they stay paired,
    and of each group training seeds, on their own: the difference of two groups' rows is the bootstrap of their difference
    (hierarchical bootstrap: Davison & Hinkley 1997, section 3.8; Saravanan, Berman & Sober 2020; seeds and questions are
    crossed, Owen 2007, Annals of Applied Statistics 1, 386-411). Of S seeds S - 1 are drawn, with which the variance is that
    of the mean of S, and not (S - 1) / S of it (McCarthy & Snowden 1985; Rao & Wu 1988); a single seed is taken as it is.

    ValueError where groups have no seed, no question or different numbers of questions.
    """
    arrays = [np.atleast_2d(np.asarray(group, dtype=float)) for group in groups]
    questions = {array.shape[-1] for array in arrays}
    if any(array.ndim != 2 or not array.size for array in arrays) or len(questions) != 1:
        raise ValueError(
            f"(seeds, questions) of one number of questions were expected, found {[a.shape for a in arrays]}"
        )
    (n,) = questions
    starts = np.cumsum([0, *(len(array) for array in arrays)])
    stacked = np.concatenate(arrays).T
    draw_questions, draw_seeds = (np.random.default_rng([seed, part]) for part in (0, 1))
    found = np.empty((len(arrays), n_boot))
    step = max(1, 2_000_000 // n)
    for start in range(0, n_boot, step):
        size = min(step, n_boot - start)
        drawn = draw_questions.integers(n, size=(size, n)) + n * np.arange(size)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n)
        means = counts @ stacked / n  # (resamples, seeds of all groups)
        for group, (first, last) in enumerate(pairwise(starts)):
            seeds = draw_seeds.integers(first, last, size=(size, max(1, last - first - 1)))
            found[group, start : start + size] = np.take_along_axis(means, seeds, axis=1).mean(axis=1)
    return found


def holm(p_values: Sequence[float]) -> list[float]:
    """p values adjusted for their number (Holm 1979): rejecting those below alpha keeps the family's error below alpha."""
    order = np.argsort(p_values)
    steps = np.asarray(p_values, dtype=float)[order] * np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(steps))
    return [float(p) for p in adjusted]


def pass_at_k(n: int, c: int, k: int) -> float:
    """Unbiased chance that one of k samples is correct, from n samples with c correct (Chen et al. 2021, section 2.1)."""
    if not (0 <= c <= n and 1 <= k <= n):
        raise ValueError(f"0 <= c <= n and 1 <= k <= n were expected, found n={n}, c={c}, k={k}")
    return 1 - comb(n - c, k) / comb(n, k)


def minimum_detectable_effect(n: int, discordance: float, power: float = 0.8, level: float = 0.95) -> float | None:
    """Smallest difference of two accuracies on the same n questions that `mcnemar_exact` sees with this power; None for none.

    `discordance` is the share of questions on which the two differ, each for itself; the difference cannot be larger.
    """

    def missing(effect: float) -> float:
        return power - mcnemar_power(n, discordance, effect, level)

    if not n or not discordance or missing(discordance) > 0:
        return None
    return float(optimize.brentq(missing, 0.0, discordance, xtol=1e-6))


def mcnemar_power(n: int, discordance: float, effect: float, level: float = 0.95) -> float:
    """Chance that `mcnemar_exact` is below 1 - level, where n questions differ with chance `discordance` each and the
    accuracies by `effect` (unconditional power of the exact test; Duffy 1984, Biometrics 40)."""
    spread = stats.binom(n, discordance)
    pairs = np.arange(spread.ppf(1e-9), spread.ppf(1 - 1e-9) + 1)
    # Of so many discordant pairs, the most on one side that are few enough: 2 P(X <= most) < alpha.
    most = stats.binom.ppf((1 - level) / 2, pairs, 0.5)
    most -= 2 * stats.binom.cdf(most, pairs, 0.5) >= 1 - level
    side = (discordance + effect) / (2 * discordance)
    seen = stats.binom.cdf(most, pairs, side) + stats.binom.sf(pairs - most - 1, pairs, side)
    return float(np.sum(spread.pmf(pairs) * np.where(most < 0, 0.0, seen)))


def auc(scores: ArrayLike, labels: ArrayLike) -> float | None:
    """Chance that a positive scores above a negative, ties half (Mann-Whitney); None where either is missing."""
    positive = np.asarray(labels, dtype=bool)
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    if not n_positive or not n_negative:
        return None
    ranks = stats.rankdata(np.asarray(scores, dtype=float))
    return float((ranks[positive].sum() - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))


def auc_of_groups(scores: ArrayLike, labels: ArrayLike, groups: ArrayLike) -> NDArray[np.float64]:
    """The `auc` of each group that has positives and negatives, in the groups' order.

    `groups` are numbers that do not fall: a group's entries stand side by side.
    """
    score, label = np.asarray(scores, dtype=float), np.asarray(labels, dtype=bool)
    _, starts, sizes = np.unique(np.asarray(groups), return_index=True, return_counts=True)
    areas = np.full(len(starts), np.nan)
    for size in np.unique(sizes):
        chosen = np.flatnonzero(sizes == size)
        # All pairs of positive and negative at once, for as many groups as fit a few dozen megabytes.
        step = max(1, 4_000_000 // int(size) ** 2)
        for part in (chosen[start : start + step] for start in range(0, len(chosen), step)):
            places = starts[part][:, None] + np.arange(size)
            own, positive = score[places], label[places]
            pairs = positive[:, :, None] & ~positive[:, None, :]
            higher = (pairs & (own[:, :, None] > own[:, None, :])).sum(axis=(1, 2))
            equal = (pairs & (own[:, :, None] == own[:, None, :])).sum(axis=(1, 2))
            number = pairs.sum(axis=(1, 2))
            np.divide(higher + equal / 2, number, out=(found := np.full(len(part), np.nan)), where=number > 0)
            areas[part] = found
    return areas[~np.isnan(areas)]


def spearman(x: ArrayLike, y: ArrayLike) -> float | None:
    """Rank correlation; None for fewer than two points or a constant side."""
    sides = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if any(side.size < 2 or side.min() == side.max() for side in sides):
        return None
    return float(stats.spearmanr(*sides).statistic)
