"""Whether differences between groups of results may be chance: paired tests, and average ranks.

Results of two groups are paired where they differ in the group alone, such as those of two encoders
with the same seed on the same data: what a seed makes easier or harder for both cancels out.

    F. Wilcoxon, "Individual comparisons by ranking methods", 1945
    S. Holm, "A simple sequentially rejective multiple test procedure", 1979
    J. Demsar, "Statistical comparisons of classifiers over multiple data sets", 2006
    A. Benavoli et al., "Should we really use post-hoc tests based on mean-ranks?", 2016

A test over seeds of one data set says what other seeds would give; it does not say what other data
sets would.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple, TypeVar

import numpy as np

LEVEL = 0.05
"""A difference with a p-value above it may be chance."""

B = TypeVar("B", bound=Hashable)
Results = Mapping[str, Mapping[B, float]]
"""By group, then by block, such as a seed: results of one block are paired."""


class PairedTest(NamedTuple):
    """Wilcoxon's signed-rank test of two groups, two-sided."""

    num_pairs: int
    mean_difference: float
    """Of the first group's result minus the second's."""
    statistic: float
    """The smaller of the sums of the ranks of positive and of negative differences."""
    p: float
    """Probability of a statistic as small or smaller if only chance made the difference."""
    adjusted_p: float
    """The same after Holm's correction for all tests that were made together."""

    @property
    def is_significant(self) -> bool:
        """Whether the difference is more than chance, at `LEVEL`."""
        return self.adjusted_p <= LEVEL


def signed_rank_test(differences: np.ndarray) -> tuple[float, float]:
    """Return statistic and p-value of Wilcoxon's signed-rank test, two-sided.

    Differences (N,) of zero are left out, and those that are equal up to rounding are ties. The
    p-value is exact for up to 50 of them, with ties up to 13; beyond, the distribution is taken for
    normal. Without any difference it is 1.
    """
    from scipy.stats import wilcoxon  # comparing alone needs scipy

    scale = np.abs(differences).max(initial=0.0) or 1.0
    different = np.round(differences / scale, 9)
    different = different[different != 0]
    if not len(different):
        return 0.0, 1.0
    result = wilcoxon(different)
    return float(result.statistic), float(result.pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for each other: the smallest of m times m, the next times m - 1.

    None is smaller than the one before it in that order, or larger than 1.
    """
    p = np.asarray(p_values, dtype=float)
    order = p.argsort(kind="stable")
    scaled = p[order] * np.arange(len(p), 0, -1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return [float(each) for each in adjusted]


def paired_tests(results: Results[B]) -> dict[tuple[str, str], PairedTest]:
    """Test every two groups that have blocks in common, and correct for all of these tests.

    The first of two is the one that comes first in `results`.
    """
    differences = {}
    for first, second in combinations(results, 2):
        common = [block for block in results[first] if block in results[second]]
        if common:
            pairs = [(results[first][block], results[second][block]) for block in common]
            differences[first, second] = np.array([one - other for one, other in pairs])
    tested = {names: signed_rank_test(each) for names, each in differences.items()}
    adjusted = holm([p for _, p in tested.values()])
    return {
        names: PairedTest(
            num_pairs=len(differences[names]),
            mean_difference=float(differences[names].mean()),
            statistic=statistic,
            p=p,
            adjusted_p=adjusted_p,
        )
        for (names, (statistic, p)), adjusted_p in zip(tested.items(), adjusted, strict=True)
    }


def smallest_p(num_pairs: int) -> float:
    """Return the smallest p-value that so many pairs can reach: all differences of one sign."""
    return 2.0 ** min(0, 1 - num_pairs)


def pairs_needed(num_tests: int) -> int:
    """Return how many pairs the first of so many tests needs to reach `LEVEL`, once corrected."""
    return math.ceil(1 + math.log2(num_tests / LEVEL))


def common_blocks(results: Results[B]) -> list[B]:
    """Return the blocks in which all groups have results."""
    first, *others = results.values()
    return [block for block in first if all(block in each for each in others)]


def average_ranks(results: Results[B], *, maximise: bool) -> dict[str, float]:
    """Return the mean rank of each group over the blocks that all have, from 1, the best.

    Equal results share the mean of their ranks.
    """
    from scipy.stats import rankdata

    blocks = common_blocks(results)
    values = np.array([[of[block] for block in blocks] for of in results.values()])  # (groups, N)
    ranks = rankdata(np.round(-values if maximise else values, 12), axis=0).mean(1)
    return dict(zip(results, ranks.tolist(), strict=True))


def cliques(
    ordered: Sequence[str], tests: Mapping[tuple[str, str], PairedTest]
) -> list[tuple[str, ...]]:
    """Return the largest sets of groups of which no two differ significantly, each in this order.

    They need not be neighbours: a group between two others may differ from one of them where these,
    whose results vary more, do not differ. `ordered` has a few groups; sets of one are left out.
    """

    def differ(one: str, other: str) -> bool:
        test = tests.get((one, other)) or tests.get((other, one))
        return test is not None and test.is_significant

    found: list[tuple[str, ...]] = []
    for size in range(len(ordered), 1, -1):
        for group in combinations(ordered, size):
            is_part = any(set(group) <= set(larger) for larger in found)
            if not is_part and not any(differ(*pair) for pair in combinations(group, 2)):
                found.append(group)
    return found
