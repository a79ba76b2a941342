"""Average ranks: where they stand, and what is joined."""

import numpy as np

from harness.figures import style
from harness.figures.critical_difference import critical_difference
from tests.harness.figures.layout import NAMES, drawn

RANKS = {"tcn": 2.5, "gru": 1.5, "rnn": 4.0, "lstm": 2.0}


def test_groups_stand_at_their_ranks_and_bars_join_those_that_may_be_equal() -> None:
    figure = drawn(critical_difference(RANKS, [("gru", "lstm", "rnn")], "5 seeds"))
    (axes,) = figure.axes
    assert axes.get_xlim() == (1, 4)
    bars = [line for line in axes.lines if line.get_color() == style.VERMILION]
    places = [np.asarray(line.get_xdata()) for line in axes.lines if line not in bars]
    assert [x[0] for x in places] == [1.5, 2.0, 2.5, 4.0]
    assert [x[2] for x in places] == [1, 1, 4, 4], "the better half is named on the left"
    (bar,) = bars
    assert np.ravel(bar.get_xdata()).tolist() == [1.5, 2.0, 4.0], "without tcn, which is between"
    assert bar.get_marker() == "o"
    texts = [text.get_text() for text in axes.texts]
    assert texts == ["gru  1.50", "lstm  2.00", "2.50  tcn", "4.00  rnn"]


def test_many_groups_of_long_names_fit() -> None:
    ranks = {name: 1 + 0.8 * place for place, name in enumerate(NAMES[:8])}
    joined = [tuple(NAMES[start : start + 3]) for start in range(6)]
    drawn(
        critical_difference(ranks, joined, "Average ranks over 15 pairs of a data set and a seed")
    )
    drawn(critical_difference({"a": 1.0, "b": 2.0}, [], ""))
