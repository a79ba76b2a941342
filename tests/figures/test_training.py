"""Curves over the epochs."""

import numpy as np

from experiments.figures import training


def test_curves_tell_training_from_validation_and_mark_the_kept_epoch() -> None:
    values = np.linspace(1, 0, 5)
    both = {"training": values, "validation": values / 2}
    figure = training.curves(both, both, values, 4, loss_unit="nats", note="of one seed")
    figure.draw_without_rendering()
    loss, accuracy, rate = figure.axes
    for axes in (loss, accuracy):
        learnt, chosen_by, kept = axes.lines
        assert (learnt.get_linestyle(), chosen_by.get_linestyle()) == ("--", "-")
        assert kept.get_xdata() == [4, 4]
    assert np.array_equal(rate.lines[0].get_ydata(), values)
    assert loss.get_ylabel() == "nats"
    assert figure.get_supxlabel() == "of one seed"
