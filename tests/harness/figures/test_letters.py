"""Texts of users in figures: every letter is drawn, by a font that has it or by its name."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from matplotlib.figure import Figure

from experiments.rnn import figures as rnn
from experiments.rnn_text import figures as rnn_text
from experiments.seq_classification import figures as sequences
from harness.figures import classification, comparison, letters, style
from tests.harness.figures.layout import drawn

HANGUL = "고양이"
FAMILY = "A Font of Three Letters"


def forget() -> None:
    letters._fonts.cache_clear()
    letters._drawn.cache_clear()


@pytest.fixture(autouse=True)
def only_the_usual_font(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make these tests independent of the fonts that are installed."""
    usual = [font for font in font_manager.fontManager.ttflist if font.name.startswith("DejaVu")]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", usual)
    monkeypatch.setattr(letters, "_in_use", ["sans-serif"])
    forget()
    yield
    forget()


@pytest.fixture
def hangul_font(tmp_path: Path, only_the_usual_font: None) -> None:
    """Install a font in which three letters are squares, thin ones that are no box of a font."""
    names = [".notdef", *(f"uni{ord(letter):X}" for letter in HANGUL)]
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for corner in ((0, 700), (700, 700), (700, 0)):
        pen.lineTo(corner)
    pen.closePath()
    font = FontBuilder(1000, isTTF=True)
    font.setupGlyphOrder(names)
    font.setupCharacterMap({ord(letter): f"uni{ord(letter):X}" for letter in HANGUL})
    font.setupGlyf(dict.fromkeys(names, pen.glyph()))
    font.setupHorizontalMetrics(dict.fromkeys(names, (800, 0)))
    font.setupHorizontalHeader(ascent=800, descent=-200)
    font.setupNameTable({"familyName": FAMILY, "styleName": "Regular"})
    font.setupOS2(sTypoAscender=800, usWeightClass=400)
    font.setupPost()
    font.save(tmp_path / "font.ttf")
    font_manager.fontManager.addfont(tmp_path / "font.ttf")


@pytest.mark.parametrize(
    ("text", "drawn"),
    [
        ("Zürich ł Ж ع", "Zürich ł Ж ع"),
        (HANGUL, "goyangi"),
        ("\u1100\u1169\u110b\u1163\u11bc\u110b\u1175", "goyangi"),  # the same in parts, as on macOS
        ("ねこ", "neko"),
        ("日 \U00010fff", r"\u65e5 \U00010fff"),
        ("two\nlines\t\x07\udcff", r"two lines \x07\udcff"),
        ("$x^2$ $", r"\$x^2\$ \$"),
        ("_private", " _private"),
    ],
)
def test_letters_that_no_font_has_are_spelled(text: str, drawn: str) -> None:
    assert letters.literal(text) == drawn


@pytest.mark.usefixtures("hangul_font")
def test_letters_are_taken_from_a_font_that_has_them() -> None:
    assert letters.literal(f"{HANGUL} 개") == f"{HANGUL} gae"
    assert letters.families(["monospace"]) == ["monospace", "sans-serif", FAMILY]


def pixels(figure: Figure) -> np.ndarray:
    return np.asarray(style.to_image(style.Canvas(figure)))


@pytest.mark.usefixtures("hangul_font")
def test_the_squares_of_that_font_are_in_the_figure() -> None:
    """A square of 12 points at 110 pixels per inch has 0.7 * 12 * 110 / 72 = 12.8 a side."""
    image = pixels(classification.note(letters.literal(HANGUL)))[..., 0]
    dark = image < 100
    assert dark.sum() == pytest.approx(3 * 12.8**2, rel=0.1)


def inspection(symbol: str) -> sequences.Inspection:
    return sequences.Inspection(
        title=f"class {symbol}",
        text=f"{symbol}a_$",
        features=np.eye(4),
        cells=np.eye(4),
        steps=np.arange(1, 5),
        predictions=np.full((4, 2), 0.5),
        contributions=np.ones(4),
        attention=None,
    )


def grouped(name: str) -> dict[str, np.ndarray]:
    return {name: np.array([0.5, 0.7])}


FIGURES: dict[str, Callable[[str], Figure]] = {
    "confusion": lambda name: classification.confusion(np.eye(2, dtype=int), [name, "b"]),
    "crowded confusion": lambda name: classification.confusion(np.eye(6, dtype=int), [name] * 6),
    "roc": lambda name: classification.roc(np.array([0, 1]), np.array([0.1, 0.9]), name),
    "feature map": lambda name: classification.feature_map(
        np.eye(2), np.array([0, 1]), np.array([0, 1]), [name, "b"], "title", ("x", "y")
    ),
    "curves": lambda name: comparison.curves({name: [np.array([0.1, 0.2])]}, "accuracy"),
    "against": lambda name: comparison.against(grouped(name), grouped(name), "time", "accuracy"),
    "states": lambda name: sequences.states([inspection(name[0])]),
    "importance": lambda name: sequences.importance([inspection(name[0])]),
    "prediction by step": lambda name: sequences.prediction_by_step(
        [inspection(name[0])], [name, "b"]
    ),
    "memory": lambda name: rnn.memory(np.eye(len(name)), name, name),
    "predictions": lambda name: rnn.predictions([(name, name, name)]),
    "letters": lambda name: rnn_text.letters(
        np.arange(len(name)), np.arange(len(name)), list(name)
    ),
    "generated text": lambda name: rnn_text.generated_text({1.0: 20 * f"{name} "}),
}


@pytest.mark.parametrize("figure", FIGURES)
@pytest.mark.parametrize("name", [HANGUL, "_$\\frac$ 日\n\udcff"])
def test_any_text_is_drawn_without_a_warning(
    figure: str, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    drawn(FIGURES[figure](name))
    assert not caplog.messages


@pytest.mark.parametrize("figure", FIGURES)
@pytest.mark.usefixtures("hangul_font")
def test_any_text_is_drawn_by_another_font_without_a_warning(
    figure: str, caplog: pytest.LogCaptureFixture
) -> None:
    drawn(FIGURES[figure](HANGUL))
    assert not caplog.messages
