"""What every figure is to look like, whatever it shows: readable where the MLflow UI shows it."""

from itertools import combinations
from unittest.mock import patch

from matplotlib.backend_bases import RendererBase
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from harness.figures import style

PANE = (1100, 600)
"""Pixels to which the UI reduces a picture that is larger."""

NAMES = (
    "여우",
    "red panda of the eastern Himalaya",
    *(f"species {k} of a long name" for k in range(60)),
)
"""Of classes, as people have them."""


def drawn(figure: Figure) -> Figure:
    """Draw a figure, and check that it fits the pane and no text lies on another or is cut off."""
    boxes: list[tuple[Text, Bbox]] = []
    draw = Text.draw

    def note(text: Text, renderer: RendererBase) -> None:
        draw(text, renderer)
        if text.get_visible() and text.get_text().strip():
            boxes.append((text, text.get_window_extent(renderer)))

    with patch.object(Text, "draw", note):
        width, height = style.Canvas(figure).get_width_height()
    assert width <= 900
    assert min(PANE[0] / width, PANE[1] / height) >= 0.75, "text would be too small"
    for text, box in boxes:
        assert min(box.x0, box.y0, width - box.x1, height - box.y1) >= -2, text
    # The box around slanted text overlaps others where the text does not.
    upright = [(text, box.padded(-1)) for text, box in boxes if text.get_rotation() in (0, 90)]
    for (text, box), (other, its_box) in combinations(upright, 2):
        assert not box.overlaps(its_box), (text, other)
    return figure
