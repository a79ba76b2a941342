"""Paired tests against values worked out by hand, and by another computation."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats

from harness import significance
from harness.significance import PairedTest, average_ranks, cliques, holm, paired_tests


@pytest.mark.parametrize(
    ("differences", "statistic", "p"),
    [
        # All of one sign: two of the 2 ** n assignments of signs are as extreme.
        ([1.0, 2.0, 3.0, 4.0, 5.0], 0, 2 / 32),
        ([-1.0, -2.0, -3.0, -4.0, -5.0, -6.0], 0, 2 / 64),
        # Ranks 1 to 4, the third negative: {}, {1}, {2}, {3} and {1, 2} of 16 sum to 3 or less.
        ([0.1, 0.2, -0.3, 0.4], 3, 2 * 5 / 16),
        ([0.1, 0.0, 0.2, -0.3, 0.4], 3, 2 * 5 / 16),  # a difference of zero is left out
        # Ranks 1.5, 1.5 and 3: {}, and each of the two ties, of 8.
        ([0.2, -0.2, 0.5], 1.5, 2 * 3 / 8),
        ([0.0, 0.0], 0, 1),
        ([0.3], 0, 1),
    ],
)
def test_signed_ranks_by_hand(differences: list[float], statistic: float, p: float) -> None:
    found = significance.signed_rank_test(np.array(differences))
    np.testing.assert_allclose(found, [statistic, p])


def test_a_p_value_is_the_share_of_signs_that_are_as_extreme() -> None:
    differences = np.random.default_rng(0).normal(0.4, 1, 9)
    ranks = scipy.stats.rankdata(np.abs(differences))
    signs = np.array(list(itertools.product((0, 1), repeat=9)))
    sums = signs @ ranks
    smaller = np.minimum(sums, ranks.sum() - sums)
    here = min(ranks[differences > 0].sum(), ranks[differences < 0].sum())
    _, p = significance.signed_rank_test(differences)
    assert p == pytest.approx(np.mean(smaller <= here))


def test_differences_that_are_equal_up_to_rounding_are_ties() -> None:
    differences = np.array([0.3 - 0.2, 0.2 - 0.1, -(0.9 - 0.8)])  # 0.1 in three spellings
    assert len(set(np.abs(differences))) > 1
    assert significance.signed_rank_test(differences)[0] == 2  # all of rank 2


def test_holm_by_hand() -> None:
    """The example of three: 3 times the smallest, 2 times the next, but no less than before."""
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.5, 0.9]) == [1, 1]
    assert holm([]) == []


def test_of_equals_one_comparison_in_twenty_at_most_finds_any_difference() -> None:
    generator = np.random.default_rng(1)
    found = 0
    for _ in range(300):
        results = {name: dict(enumerate(generator.normal(size=12))) for name in "abc"}
        found += any(test.is_significant for test in paired_tests(results).values())
    assert found / 300 < 0.05 + 2 * math.sqrt(0.05 * 0.95 / 300)


def test_groups_are_tested_on_the_blocks_that_both_have() -> None:
    results = {
        "a": dict(zip("uvwxyz", (9.0, 8.0, 7.0, 6.0, 5.0, 4.0), strict=True)),
        "b": dict(zip("vwxyz", (7.0, 5.0, 3.0, 1.0, 0.0), strict=True)),
        "c": {"z": 5.0},
        "d": {"other": 1.0},
    }
    tests = paired_tests(results)
    assert set(tests) == {("a", "b"), ("a", "c"), ("b", "c")}
    np.testing.assert_allclose(tests["a", "b"], [5, 2.8, 0, 0.0625, 3 * 0.0625])
    assert tests["a", "c"].mean_difference == -1
    assert tests["a", "c"].adjusted_p == 1


def test_how_many_pairs_it_takes() -> None:
    """All of one sign, and still the corrected p-value is too large with one pair fewer."""
    for num_tests in (1, 3, 6, 21, 28):
        needed = significance.pairs_needed(num_tests)
        assert num_tests * significance.smallest_p(needed) <= 0.05
        assert num_tests * significance.smallest_p(needed - 1) > 0.05
    assert significance.smallest_p(5) == 0.0625
    assert significance.smallest_p(0) == 1


def test_average_ranks_share_ties() -> None:
    results = {
        "a": {0: 0.9, 1: 0.8, 2: 0.7, 3: 0.0},
        "b": {0: 0.9, 1: 0.6, 2: 0.1 + 0.2},
        "c": {0: 0.1, 1: 0.7, 2: 0.3},
    }
    highest = average_ranks(results, maximise=True)
    assert highest == pytest.approx({"a": 3.5 / 3, "b": 7 / 3, "c": 7.5 / 3})
    lowest = average_ranks(results, maximise=False)
    assert lowest == pytest.approx({"a": (2.5 + 3 + 3) / 3, "b": (2.5 + 1 + 1.5) / 3, "c": 4.5 / 3})


def test_cliques_are_the_largest_sets_without_a_difference() -> None:
    def test(p: float) -> PairedTest:
        return PairedTest(10, 0.1, 0.0, p, p)

    differ = [("a", "d"), ("c", "a"), ("a", "e"), ("b", "e"), ("e", "c"), ("d", "e")]
    tests = {pair: test(0.01) for pair in differ}
    tests |= {("a", "b"): test(0.5), ("b", "c"): test(0.5), ("b", "d"): test(0.06)}
    assert cliques("abcde", tests) == [("b", "c", "d"), ("a", "b")]
    apart = {("b", "c"): test(0.01)}  # between the two neighbours of each
    assert cliques("abcd", apart) == [("a", "b", "d"), ("a", "c", "d")]
    assert cliques("abc", {}) == [("a", "b", "c")]
