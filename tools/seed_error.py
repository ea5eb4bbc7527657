"""How often a study calls two equal recipes different, by the number of training seeds: a simulation.

    python -m tools.seed_error            # minutes; docs/guide/studies.md quotes it

Two recipes of one accuracy answer the same 800 questions, 8 samples each. A training moves all questions of its recipe by
a normal number (`moved`, standard deviation in points) and each single question by another (8 points). With one training
each the test is the paired bootstrap over questions, as in regime_w/report/study.py; with several the hierarchical one.
"""

import argparse

import numpy as np
from numpy.typing import NDArray

from regime_w.method.statistics import hierarchical_means, of_resamples, paired_bootstrap

QUESTIONS, SAMPLES, OF_A_QUESTION, ALPHA = 800, 8, 0.08, 0.05


def answered(rng: np.random.Generator, easy: NDArray[np.float64], seeds: int, moved: float) -> NDArray[np.float64]:
    """Mean of k of each training (rows) and question."""
    chance = easy + rng.normal(0, moved, (seeds, 1)) + rng.normal(0, OF_A_QUESTION, (seeds, easy.size))
    return rng.binomial(SAMPLES, np.clip(chance, 0, 1)) / SAMPLES


def is_called_different(number: int, seeds: int, moved: float, n_boot: int) -> bool:
    rng = np.random.default_rng(number)
    easy = rng.beta(0.6, 1.2, QUESTIONS)
    ours, theirs = (answered(rng, easy, seeds, moved) for _ in range(2))
    if seeds == 1:
        return paired_bootstrap(ours[0], theirs[0], n_boot, number).p < ALPHA
    first, second = hierarchical_means([ours, theirs], n_boot, number)
    return of_resamples(float(ours.mean() - theirs.mean()), first - second).p < ALPHA


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=400, help="pairs of recipes of each kind")
    parser.add_argument("--n-boot", type=int, default=1000)
    args = parser.parse_args()
    for seeds in (1, 2, 3, 5):
        for moved in (0.0, 0.005, 0.01):
            called = [is_called_different(number, seeds, moved, args.n_boot) for number in range(args.studies)]
            print(f"{seeds} seeds, moved {100 * moved:.1f} points: {np.mean(called):.1%} called different", flush=True)


if __name__ == "__main__":
    main()
