"""The rule of promotion: how often it errs, and how often it finds what is better."""

import math

import numpy as np
import pytest
import scipy.stats

from tuning.registry.paired_test import (
    CRITICAL_T,
    MAX_SEEDS,
    MIN_SEEDS,
    Verdict,
    student_t,
    verdict,
)


def comparisons(effect: float, count: int, seed: int) -> tuple[float, float]:
    """Simulate comparisons; return the fraction promoted, and the mean number of seeds.

    Both are trained with independent normal results of equal spread; the challenger is better by
    `effect` of its standard deviations over seeds. Every look is computed at once, without the code
    that is tested.
    """
    generator = np.random.default_rng(seed)
    results = generator.standard_normal((2, count, MAX_SEEDS))
    differences = results[0] + effect - results[1]
    promoted, looking = np.zeros(count, bool), np.ones(count, bool)
    seeds = np.full(count, MAX_SEEDS)
    for n in range(MIN_SEEDS, MAX_SEEDS + 1):
        t = scipy.stats.ttest_1samp(differences[:, :n], 0, axis=1).statistic
        wins, loses = t > CRITICAL_T[n], t <= 0
        promoted |= looking & wins
        seeds[looking & (wins | loses)] = n
        looking &= ~(wins | loses)
    return promoted.mean(), seeds.mean()


def test_equals_are_promoted_in_at_most_one_of_twenty_comparisons() -> None:
    promoted, seeds = comparisons(effect=0.0, count=200_000, seed=1)
    assert promoted < 0.05
    assert promoted > 0.03, "the risk that is allowed is used"
    assert seeds < 6


def test_what_is_better_by_one_and_a_half_deviations_is_mostly_promoted() -> None:
    promoted, seeds = comparisons(effect=1.5, count=50_000, seed=2)
    assert promoted > 0.8
    assert seeds < 8


def test_each_look_spends_an_equal_part_of_the_risk() -> None:
    differences = np.random.default_rng(3).standard_normal((400_000, MAX_SEEDS))
    looking = np.ones(len(differences), bool)
    for n, critical in CRITICAL_T.items():
        t = scipy.stats.ttest_1samp(differences[:, :n], 0, axis=1).statistic
        assert (looking & (t > critical)).mean() == pytest.approx(0.05 / 8, rel=0.06)
        looking &= t <= critical


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        ([0.1, 0.2], "undecided"),
        ([0.0, 0.0, 0.0], "not better"),
        ([0.1, 0.1, 0.1], "better"),
        ([0.1, -0.3, 0.1], "not better"),
        ([0.1, 0.2, 0.3], "undecided"),
        ([0.1, 0.2, 0.2, 0.2], "better"),
        ([1.0, -0.9] * 5, "not better"),
        ([*[1.0, -0.9] * 4, 1.0], "undecided"),
    ],
)
def test_verdicts(differences: list[float], expected: Verdict) -> None:
    assert verdict(differences) == expected


def test_t_is_that_of_a_paired_test() -> None:
    values = [0.3, -0.1, 0.2, 0.4]
    assert student_t(values) == pytest.approx(scipy.stats.ttest_1samp(values, 0).statistic)
    assert student_t([0.0, 0.0]) == 0
    assert student_t([-1.0, -1.0]) == -math.inf
