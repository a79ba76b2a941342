"""Pictures of a network that predicts text."""

import numpy as np
import pytest

from datasets.characters import ByteVocabulary, Vocabulary
from experiments.rnn_text import figures
from harness.figures import style
from models.context_mixture import PREDICTORS
from tests.harness.figures.layout import drawn


def test_bits_stand_beside_those_of_the_compressors() -> None:
    curves = {"training": np.array([4.0, 2.0]), "validation": np.array([4.1, 2.2])}
    baselines = {"5-gram": 1.8, "xz": 1.9}
    (axes,) = drawn(
        figures.bits(
            curves,
            50,
            baselines,
            best_epoch=2,
            tested={"test": 2.1, "dynamic": 1.7},
            unit="byte",
            scope="all bytes",
        )
    ).axes
    assert axes.get_ylabel() == "bits per byte"
    assert "all bytes" in axes.get_title()
    assert np.ravel(axes.lines[0].get_xdata()).tolist() == [50, 100]
    assert np.ravel(axes.lines[2].get_xdata()).tolist() == [100]
    labels = axes.get_legend_handles_labels()[1]
    assert labels == [
        "training",
        "validation",
        "test 2.100",
        "dynamic 1.700",
        "5-gram 1.800",
        "xz 1.900",
    ]
    assert axes.lines[-2].get_linestyle() != axes.lines[-1].get_linestyle()
    low, high = axes.get_ylim()
    assert low < 1.7 < 2.2 < high


def test_predictors_are_drawn_in_groups_that_sum_to_one() -> None:
    shares = np.zeros((20, len(PREDICTORS)))
    shares[:, PREDICTORS.index("order 32")] = 0.75
    shares[:, PREDICTORS.index("word")] = 0.25
    figure = drawn(figures.trust(shares, 4000, "byte"))
    labels = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    assert labels == ["orders 10 to 32", "words, and skipping"]
    (axes,) = figure.axes
    tops = [np.asarray(layer.get_paths()[0].vertices)[:, 1].max() for layer in axes.collections]
    assert tops == pytest.approx([0.75, 1])
    assert axes.get_xlim() == (0, 4000)
    assert axes.get_xlabel() == "bytes read"


def test_letters_are_shares_of_each_actual_one() -> None:
    actual, predicted = np.array([0, 0, 0, 0]), np.array([0, 0, 1, 0])
    axes = drawn(figures.letters(actual, predicted, ["-", "a"])).axes[0]
    assert np.asarray(axes.images[0].get_array()).tolist() == [[0.75, 0.25], [0, 0]]
    assert "0.750" in axes.get_title()


def test_of_many_symbols_the_most_frequent_are_shown() -> None:
    names = [chr(0xAC00 + number) for number in range(5000)]
    actual = np.repeat(np.arange(100, 135), np.arange(100, 65, -1))  # 100 is the most frequent
    predicted = np.where(actual == 100, 4000, actual)
    axes = drawn(figures.letters(actual, predicted, names)).axes[0]
    shares = np.asarray(axes.images[0].get_array())
    expected = np.eye(31)
    expected[0, [0, 30]] = 0, 1  # predicted as one of the others
    assert shares.tolist() == expected.tolist()
    assert f"{1 - 100 / len(actual):.3f}" in axes.get_title()
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert len(labels) == 31
    assert labels[-1] == "…"
    assert "… stands for all others" in axes.get_xlabel()


def test_symbols_that_would_not_be_seen_have_names() -> None:
    assert figures.names_of(Vocabulary(" a\n\té")) == ["·", "a", "↵", "→", "é"]
    names = figures.names_of(ByteVocabulary())
    assert [names[ord(each)] for each in "a\n "] == ["a", "↵", "·"]
    assert (names[0], names[0xE9], names[0x7F]) == ("00", "e9", "7f")


@pytest.mark.parametrize("length", [5, 300])
def test_all_generated_text_is_shown(length: int) -> None:
    texts = {0.5: "ab " * length, 1.1: "z" * length}
    figure = drawn(figures.generated_text(texts))
    shown = [text.get_text() for text in figure.axes[0].texts]
    assert shown[0] == "temperature 0.5"
    assert "".join(shown[3].split()) == "z" * length
    height = figure.get_figheight() * figure.dpi
    renderer = style.Canvas(figure).get_renderer()
    assert all(text.get_window_extent(renderer).y0 >= 0 for text in figure.axes[0].texts)
    assert all(text.get_window_extent(renderer).y1 <= height for text in figure.axes[0].texts)
