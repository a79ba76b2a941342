"""The figure of average ranks: over what, and of how many groups."""

import pytest

from experiments.compare.pairs import Block, ranks_figure
from harness.significance import paired_tests
from tests.harness.figures.layout import drawn

SEEDS: list[Block] = [("italy", f"validation of seed {seed}", str(seed)) for seed in range(6)]
LEVELS: list[Block] = [("order", level, str(seed)) for level in "ab" for seed in range(3)]
SETS: list[Block] = [(name, "f", str(seed)) for name in "ab" for seed in range(3)]


@pytest.mark.parametrize(
    ("blocks", "over"),
    [
        (SEEDS, "6 seeds"),
        (LEVELS, "6 pairs of a data set and a seed"),
        (SETS, "6 pairs of a data set and a seed"),
    ],
)
def test_the_title_says_over_what_ranks_are_averaged(blocks: list[Block], over: str) -> None:
    results = {
        f"group {k}": {block: float(k + (i == k)) for i, block in enumerate(blocks)}
        for k in range(12)
    }
    figure = ranks_figure(results, paired_tests(results), maximise=True)
    assert figure is not None
    (axes,) = drawn(figure).axes
    assert axes.get_title().split("\n")[0] == f"Average ranks over {over}"
    assert len(axes.texts) == 12
