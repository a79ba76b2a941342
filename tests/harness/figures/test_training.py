"""Curves over the epochs."""

import numpy as np
import pytest

from harness.figures import style, training
from tests.harness.figures.layout import drawn


def test_curves_distinguish_training_from_validation_and_mark_the_kept_epoch() -> None:
    values = np.linspace(1, 0, 5)
    both = {"training": values, "validation": values / 2}
    figure = training.curves(both, both, values, 4, loss_unit="nats", note="of one seed")
    drawn(figure)
    loss, accuracy, rate = figure.axes
    for axes in (loss, accuracy):
        training_curve, validation_curve, kept = axes.lines
        assert (training_curve.get_linestyle(), validation_curve.get_linestyle()) == ("--", "-")
        assert kept.get_xdata() == [4, 4]
    assert np.array_equal(rate.lines[0].get_ydata(), values)
    assert loss.get_ylabel() == "nats"
    assert figure.get_supxlabel() == "of one seed"


@pytest.mark.parametrize("limits", [(0.61, 0.69), (0.15, 1.2), (1e-6, 1)])
def test_a_logarithmic_axis_has_several_labels_without_powers(limits: tuple[float, float]) -> None:
    figure, ((axes, *_),) = style.canvas(1, 4, width=8.1, height=2.7)
    values = np.geomspace(*limits, 12)
    training.draw_curves(axes, "Loss", "nats", {"validation": values}, logarithmic=True)
    drawn(figure)  # no label lies on another
    low, high = axes.get_ylim()
    texts = [label.get_text().replace("\N{MINUS SIGN}", "-") for label in axes.get_yticklabels()]
    assert sum(low <= float(text) <= high for text in texts if text) >= 2
    assert not any(label.get_text() for label in axes.get_yticklabels(minor=True))


def test_kinds_are_compared_by_mean_and_range() -> None:
    curves = {"gru": np.array([[0.1, 0.5], [0.3, 0.9]]), "lstm": np.array([[0, 0.2], [0, 0.4]])}
    (axes,) = drawn(training.compared(curves, "accuracy")).axes
    assert np.ravel(axes.lines[0].get_xdata()).tolist() == [1, 2]
    assert axes.lines[0].get_ydata() == pytest.approx([0.2, 0.7])
    band = axes.collections[0].get_paths()[0].vertices
    assert np.asarray(band)[:, 1].max() == pytest.approx(0.9)
    assert axes.get_legend_handles_labels()[1] == ["gru: 0.7000", "lstm: 0.3000"]


def test_no_two_of_many_kinds_look_alike() -> None:
    curves = {f"encoder {k}": np.full((2, 3), k / 12) for k in range(12)}
    (axes,) = drawn(training.compared(curves, "accuracy")).axes
    assert len({(line.get_color(), line.get_linestyle()) for line in axes.lines}) == 12


def test_epochs_are_counted_in_samples_where_asked_for() -> None:
    (axes,) = training.compared({"gru": np.zeros((2, 3))}, "accuracy", x="seen", step=500).axes
    assert np.ravel(axes.lines[0].get_xdata()).tolist() == [500, 1000, 1500]
    assert axes.get_xlabel() == "seen"
