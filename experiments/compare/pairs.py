"""Which runs are paired, and whether groups differ by more than chance."""

import statistics
from collections.abc import Mapping

from matplotlib.figure import Figure

from experiments.compare.groups import Groups
from harness.figures.critical_difference import critical_difference
from harness.significance import (
    LEVEL,
    PairedTest,
    Results,
    average_ranks,
    cliques,
    common_blocks,
    pairs_needed,
    smallest_p,
)
from harness.tracking.run import data_set_of
from harness.wording import plural

Block = tuple[str, str, str]
"""Name and fingerprint of a data set, and a seed."""
Tests = Mapping[tuple[str, str], PairedTest]
"""By the names of two groups, of which the better one comes first."""


def paired_results(groups: Groups) -> dict[str, dict[Block, float]]:
    """Return the results of each group by data set and seed, the mean where there are several.

    Runs whose data are not known are paired with none.
    """
    results = {}
    for name, members in groups.items():
        by_block: dict[Block, list[float]] = {}
        for member in members:
            data, seed = data_set_of(member.run), member.run.data.tags.get("seed")
            if data.name and seed is not None:
                by_block.setdefault((*data, seed), []).append(member.value)
        results[name] = {block: statistics.fmean(each) for block, each in by_block.items()}
    return results


def table_of_tests(tests: Tests) -> dict[str, list[object]]:
    """Return all tests as named columns."""
    columns: dict[str, list[object]] = {
        "group": [first for first, _ in tests],
        "other": [second for _, second in tests],
    }
    for name in PairedTest._fields:
        columns[name.replace("_", " ")] = [getattr(test, name) for test in tests.values()]
    return columns


def verdict(test: PairedTest) -> str:
    """Return in words whether a difference may be chance: `p = 0.002 over 10 pairs`."""
    found = f"p = {test.adjusted_p:.3g} over {plural(test.num_pairs, 'pair')}"
    return found if test.is_significant else f"which may be chance: {found}"


def notes_on(tests: Tests) -> list[str]:
    """Return what p-values mean here, and whether so few pairs can show anything."""
    if not tests:
        return []
    corrected = f", with Holm's correction for {len(tests)} tests" if len(tests) > 1 else ""
    notes = [
        "p is that of Wilcoxon's signed-rank test of runs on the same data with the same seed"
        f"{corrected}; above {LEVEL} a difference may be chance."
    ]
    if too_few := too_few_pairs(len(tests), max(test.num_pairs for test in tests.values())):
        notes.append(f"{too_few}.")
    return notes


def too_few_pairs(num_tests: int, num_pairs: int) -> str:
    """Return why so many tests can show no difference in so few pairs; empty where they can."""
    smallest = min(1.0, num_tests * smallest_p(num_pairs))
    if smallest <= LEVEL:
        return ""
    reached = f"p = {smallest:.3g} is the smallest that {plural(num_pairs, 'pair')} can reach"
    needed = plural(pairs_needed(num_tests), "pair")
    return f"No difference can be shown by so few runs: {reached}; it takes {needed}"


def ranks_figure(results: Results[Block], tests: Tests, *, maximise: bool) -> Figure | None:
    """Draw the average ranks of three or more groups, if they have two or more blocks in common."""
    if len(results) < 3 or len(blocks := common_blocks(results)) < 2:
        return None
    ranks = average_ranks(results, maximise=maximise)
    ordered = sorted(ranks, key=lambda name: ranks[name])
    seeds = plural(len(blocks), "seed")
    one = len({name for name, *_ in blocks}) == 1 and len({s for *_, s in blocks}) == len(blocks)
    over = seeds if one else f"{len(blocks)} pairs of a data set and a seed"
    title = f"Average ranks over {over}\ndots on a bar: differences that may be chance"
    return critical_difference(ranks, cliques(ordered, tests), title)
