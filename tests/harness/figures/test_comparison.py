"""Groups compared: means, standard deviations, and which mark is whose."""

import numpy as np
import pytest

from harness.figures import comparison, letters, style


def test_the_mean_of_an_epoch_is_over_the_runs_that_reached_it() -> None:
    runs = [np.array([0.2, 0.4, 0.9]), np.array([0.4, 0.8]), np.array([0.6])]
    mean, deviation = comparison.mean_and_std(runs)
    np.testing.assert_allclose(mean, [0.4, 0.6, 0.9])
    np.testing.assert_allclose(deviation, [0.2, np.sqrt(0.08), np.nan])


def test_curves_have_a_band_of_a_standard_deviation() -> None:
    values = {"gru": [np.array([0.2, 0.4]), np.array([0.4, 0.8])], "lstm": [np.array([0.5])]}
    (axes,) = comparison.curves(values, "validation accuracy").axes
    np.testing.assert_allclose(np.ravel(axes.lines[0].get_ydata()), [0.3, 0.6])
    band = np.asarray(axes.collections[0].get_paths()[0].vertices)[:, 1]
    assert band.max() == pytest.approx(0.6 + np.sqrt(0.08))
    assert axes.get_legend_handles_labels()[1] == ["gru", "lstm"]
    assert axes.get_ylabel() == "validation accuracy"


def test_epochs_that_some_runs_have_not_reached_are_dashed() -> None:
    values = {"gru": [np.array([0.2, 0.4, 0.9]), np.array([0.4, 0.8])], "lstm": [np.ones(3)]}
    (axes,) = comparison.curves(values, "accuracy").axes
    of_gru = [line for line in axes.lines if line.get_color() == style.SERIES[0]]
    drawn = {line.get_linestyle(): np.ravel(line.get_ydata()).tolist() for line in of_gru[:2]}
    assert drawn == {"--": pytest.approx([0.3, 0.6, 0.9]), "-": pytest.approx([0.3, 0.6])}
    assert "dashed: some of the runs have ended" in axes.get_title()
    (axes,) = comparison.curves({"gru": [np.ones(3), np.ones(3)]}, "accuracy").axes
    assert "dashed" not in axes.get_title()


def test_runs_stand_where_they_cost_and_reached() -> None:
    seconds = {"gru": np.array([10.0, 1000.0]), "lstm": np.array([50.0])}
    reached = {"gru": np.array([0.8, 0.9]), "lstm": np.array([0.7])}
    (axes,) = comparison.against(seconds, reached, "time", "validation accuracy").axes
    assert axes.get_xscale() == "log"
    dots = axes.lines[0]
    np.testing.assert_allclose(np.ravel(dots.get_xdata()), [10, 1000])
    np.testing.assert_allclose(np.ravel(dots.get_ydata()), [0.8, 0.9])
    centre = axes.lines[1]
    assert np.ravel(centre.get_xdata())[0] == pytest.approx(100)  # of logarithms
    assert np.ravel(centre.get_ydata())[0] == pytest.approx(0.85)
    (error_bar,) = axes.collections  # of the group that has one
    (bar,) = error_bar.get_paths()
    assert np.ptp(np.asarray(bar.vertices)[:, 1]) / 2 == pytest.approx(0.1 / np.sqrt(2))


def test_one_cost_of_all_stands_in_the_middle() -> None:
    reached = {"gru": np.array([0.8, 0.9]), "lstm": np.array([0.7])}
    same = {name: np.full(len(values), 1000.0) for name, values in reached.items()}
    (axes,) = comparison.against(same, reached, "parameters", "accuracy").axes
    low, high = axes.get_xlim()
    assert low < 1000 < high


def test_values_of_a_logarithmic_axis_are_named_in_full() -> None:
    millions = {"cnn": np.array([1e3, 2e6])}
    figure = comparison.against(millions, {"cnn": np.array([0.1, 0.2])}, "size", "accuracy")
    figure.canvas.draw()
    (axes,) = figure.axes
    assert "1,000,000" in [text.get_text() for text in axes.get_xticklabels()]


def test_groups_without_runs_keep_the_looks_of_the_others() -> None:
    reached = {"gru": np.array([0.8]), "lstm": np.array([]), "rnn": np.array([0.7])}
    (axes,) = comparison.against(reached, reached, "time", "accuracy").axes
    colours = {line.get_label(): line.get_color() for line in axes.lines}
    assert colours == {"gru": style.SERIES[0], "rnn": style.SERIES[2]}


@pytest.mark.parametrize(
    "name", ["", "_private", "$x$", "a" * 50, "日" * 20, "$" * 40, "two\nlines"]
)
def test_any_name_stands_in_the_legend(name: str) -> None:
    shown = letters.short(name)
    assert not shown.startswith("_")
    assert len(shown) <= letters.LONGEST_NAME + 2
    assert "\n" not in shown
    figure = comparison.curves({name: [np.array([0.1, 0.2])]}, "accuracy")
    assert len(figure.legends[0].get_texts()) == 1
    figure.canvas.draw()
