"""Statistics against scipy, statsmodels, brute force and simulation."""

from itertools import combinations
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from regime_w.method.statistics import (
    auc,
    auc_of_groups,
    hierarchical_means,
    holm,
    mcnemar_exact,
    mcnemar_power,
    minimum_detectable_effect,
    of_resamples,
    paired_bootstrap,
    pass_at_k,
    spearman,
    wilson,
)


@pytest.mark.parametrize(("k", "n"), [(0, 10), (10, 10), (863, 1209), (1, 3)])
def test_wilson(k: int, n: int) -> None:
    assert wilson(k, n, 0.95) == pytest.approx(proportion_confint(k, n, 0.05, "wilson"), abs=1e-9)


def test_wilson_of_nothing() -> None:
    assert wilson(0, 0, 0.95) == (0.0, 1.0)


@pytest.mark.parametrize(("b", "c"), [(7, 9), (0, 5), (20, 3), (1, 1), (0, 0)])
def test_mcnemar(b: int, c: int) -> None:
    assert mcnemar_exact(b, c) == pytest.approx(mcnemar([[50, b], [c, 50]], exact=True).pvalue if b + c else 1.0)
    assert mcnemar_exact(b, c) == mcnemar_exact(c, b)


def test_bootstrap_agrees_with_scipy() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random(300) < 0.75, rng.random(300) < 0.65
    found = paired_bootstrap(a, b, 20_000, seed=1)
    difference = a.astype(float) - b
    reference = stats.bootstrap(
        (difference,), np.mean, n_resamples=20_000, method="percentile", rng=2
    ).confidence_interval
    assert found.diff == pytest.approx(difference.mean())
    assert (found.lo, found.hi) == pytest.approx((reference.low, reference.high), abs=0.005)
    # Resamples at 0 count on both sides, as in the exact test.
    assert found.p == pytest.approx(mcnemar_exact(int((difference > 0).sum()), int((difference < 0).sum())), abs=0.05)
    assert found == paired_bootstrap(a, b, 20_000, seed=1)
    mirrored = paired_bootstrap(b, a, 20_000, seed=1)
    assert (mirrored.lo, mirrored.hi) == pytest.approx((-found.hi, -found.lo), abs=0.005)


def test_bootstrap_of_equals() -> None:
    assert paired_bootstrap([1, 0, 1], [1, 0, 1], 1000, seed=0) == (0.0, 0.0, 0.0, 1.0)


@pytest.mark.parametrize(("a", "b"), [([], []), ([1], [1, 2]), ([[1]], [[1]])])
def test_bootstrap_refuses(a: list, b: list) -> None:
    with pytest.raises(ValueError, match="equally long"):
        paired_bootstrap(a, b, 10, seed=0)


@given(st.integers(1, 8).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_pass_at_k_by_enumeration(case: tuple[int, int, int]) -> None:
    n, c, k = case
    hits = sum(any(index < c for index in chosen) for chosen in combinations(range(n), k))
    assert pass_at_k(n, c, k) == pytest.approx(hits / comb(n, k))


def test_pass_at_k_refuses_more_than_there_are() -> None:
    with pytest.raises(ValueError, match="k <= n"):
        pass_at_k(4, 2, 5)


@pytest.mark.parametrize(("n", "discordance"), [(1209, 0.10), (300, 0.2), (120, 0.08)])
def test_minimum_detectable_effect_has_its_power(n: int, discordance: float) -> None:
    effect = minimum_detectable_effect(n, discordance, 0.8, 0.95)
    assert effect is not None
    shares = [(discordance + effect) / 2, (discordance - effect) / 2, 1 - discordance]
    counts = np.random.default_rng(0).multinomial(n, shares, size=4000)
    seen = np.mean([mcnemar_exact(int(b), int(c)) < 0.05 for b, c, _ in counts])
    assert seen == pytest.approx(0.8, abs=0.02)  # three standard errors of 4,000 draws


@pytest.mark.parametrize(("n", "discordance"), [(60, 0.3), (40, 0.5), (90, 0.2)])
def test_power_by_enumeration_of_every_table(n: int, discordance: float) -> None:
    """Of all tables of n questions, gained b, lost c, the chance of those that the exact test rejects."""
    effect = minimum_detectable_effect(n, discordance, 0.8, 0.95)
    assert effect is not None
    better, worse = (discordance + effect) / 2, (discordance - effect) / 2
    power = sum(
        comb(n, b) * comb(n - b, c) * better**b * worse**c * (1 - discordance) ** (n - b - c)
        for b in range(n + 1)
        for c in range(n + 1 - b)
        if mcnemar_exact(b, c) < 0.05
    )
    assert power == pytest.approx(0.8, abs=1e-4)
    assert mcnemar_power(n, discordance, effect) == pytest.approx(power, abs=1e-6)


def test_hierarchical_bootstrap_has_the_variance_of_seeds_and_questions() -> None:
    """Seeds that move all questions alike: the variance of a mean is that over seeds / S and that over questions / n."""
    rng = np.random.default_rng(0)
    moved = np.array([-0.02, 0.005, 0.03])
    questions = rng.random(400)
    found = hierarchical_means([moved[:, None] + questions], 20_000, seed=1)[0]
    assert found.mean() == pytest.approx((moved[:, None] + questions).mean(), abs=5e-4)
    assert found.var() == pytest.approx(moved.var(ddof=1) / 3 + questions.var() / 400, rel=0.05)


def test_hierarchical_bootstrap_pairs_questions_and_not_seeds() -> None:
    rng = np.random.default_rng(0)
    questions = rng.random(300)
    ours, theirs = (np.array(moved)[:, None] + questions for moved in ([0.03, 0.05], [-0.01, 0.0, 0.01]))
    first, second = hierarchical_means([ours, theirs], 20_000, seed=1)
    found = of_resamples(ours.mean() - theirs.mean(), first - second)
    assert found.diff == pytest.approx(0.04)
    # What questions have in common goes; what is left is the seeds' own.
    spread = np.var([0.03, 0.05], ddof=1) / 2 + np.var([-0.01, 0.0, 0.01], ddof=1) / 3
    assert (first - second).var() == pytest.approx(spread, rel=0.05)
    assert found.lo == pytest.approx(0.03 - 0.01)
    assert found.hi == pytest.approx(0.05 + 0.01)


def test_hierarchical_bootstrap_of_single_seeds_is_the_paired_one() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random(300) < 0.62, rng.random(300) < 0.55
    first, second = hierarchical_means([a, b], 20_000, seed=1)
    found, paired = of_resamples(float(a.mean() - b.mean()), first - second), paired_bootstrap(a, b, 20_000, seed=1)
    assert found == pytest.approx(paired, abs=0.01)
    assert (hierarchical_means([a], 500, seed=1) == hierarchical_means([a, b], 500, seed=1)[0]).all()


@pytest.mark.parametrize("groups", [[[[]]], [[[1, 0]], [[1, 0, 1]]], [np.zeros((0, 3))], [np.zeros((1, 2, 3))]])
def test_hierarchical_bootstrap_refuses(groups: list) -> None:
    with pytest.raises(ValueError, match="of one number of questions"):
        hierarchical_means(groups, 10)


@pytest.mark.parametrize(("n", "discordance"), [(0, 0.1), (100, 0.0), (10, 0.1)])
def test_few_questions_see_no_difference(n: int, discordance: float) -> None:
    assert minimum_detectable_effect(n, discordance) is None


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=20))
def test_auc_by_enumeration(points: list[tuple[int, bool]]) -> None:
    positive = [score for score, label in points if label]
    negative = [score for score, label in points if not label]
    found = auc([score for score, _ in points], [label for _, label in points])
    if not positive or not negative:
        assert found is None
    else:
        wins = sum((p > n) + (p == n) / 2 for p in positive for n in negative)
        assert found == pytest.approx(wins / len(positive) / len(negative))


def test_spearman() -> None:
    assert spearman([1, 2, 3], [10, 20, 15]) == pytest.approx(0.5)
    assert spearman([1, 1], [1, 2]) is None
    assert spearman([], []) is None


@given(st.lists(st.floats(0, 1), min_size=1, max_size=7))
def test_holm_is_the_closed_test_of_bonferroni(p_values: list[float]) -> None:
    """A hypothesis falls with every set of hypotheses that holds it: p is the largest of the sets' own."""
    numbers = range(len(p_values))
    sets = [group for size in numbers for group in combinations(numbers, size + 1)]
    own = {group: min(1.0, len(group) * min(p_values[number] for number in group)) for group in sets}
    assert holm(p_values) == pytest.approx([max(own[group] for group in sets if number in group) for number in numbers])


@pytest.mark.parametrize("count", [1, 2, 5, 30])
def test_holm_as_statsmodels_has_it(count: int) -> None:
    p_values = np.random.default_rng(count).beta(0.3, 2, count).tolist()
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1].tolist())


def test_holm_by_hand() -> None:
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([]) == []


@given(st.lists(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=1, max_size=6), max_size=12))
def test_auc_of_groups_is_each_groups_auc(groups: list[list[tuple[int, bool]]]) -> None:
    flat = [(score, label, 3 * number) for number, own in enumerate(groups) for score, label in own]
    wanted = [auc([score for score, _ in own], [label for _, label in own]) for own in groups]
    scores, labels, numbers = zip(*flat, strict=True) if flat else ((), (), ())
    assert auc_of_groups(scores, labels, numbers).tolist() == [area for area in wanted if area is not None]
