"""The style of all figures: sizes, and colours that colour-blind readers can tell apart."""

import io
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backend_bases import RendererBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter
from PIL import Image

from harness.figures import letters

# Okabe & Ito 2008, "Color universal design".
BLUE, ORANGE, GREEN, VERMILION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
SKY, PURPLE, YELLOW, GREY = "#56B4E9", "#CC79A7", "#F0E442", "#7F7F7F"
BLACK = "#000000"
SERIES = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK, YELLOW)
DASHES: tuple[Any, ...] = ("-", "--", ":", "-.")
CLASSES = (BLUE, ORANGE)
# P. Tol, "Colour schemes", 2021: the qualitative scheme "muted", and a grey.
MUTED = (
    *("#332288", "#88CCEE", "#44AA99", "#117733", "#999933"),
    *("#DDCC77", "#CC6677", "#882255", "#AA4499", "#999999"),
)
EXPERTS = (GREEN, PURPLE, VERMILION, SKY, YELLOW, BLACK, ORANGE, BLUE)
"""Begin with other colours than those of the classes, which appear in the same figures."""

# For every figure of the process: matplotlib reads these when it draws, not when a figure is made.
mpl.rcParams.update(
    {
        "font.size": 11,
        "axes.titlesize": 12,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": False,
        "lines.linewidth": 2,
        "figure.dpi": 110,
        "savefig.dpi": 110,
    }
)


class _Figure(Figure):
    """A figure whose texts may have letters of any script, made literal by `letters`."""

    def draw(self, renderer: RendererBase) -> None:
        for text in self.findobj(Text):
            text.set_fontfamily(letters.families(text.get_fontfamily()))
        super().draw(renderer)

    def _repr_png_(self) -> bytes:
        """Return the figure as a notebook shows it, also where pyplot is not imported."""
        buffer = io.BytesIO()
        self.savefig(buffer, format="png")
        return buffer.getvalue()


def canvas(
    rows: int = 1, columns: int = 1, *, width: float = 7.2, height: float = 5.4
) -> tuple[Figure, np.ndarray]:
    """Return a figure of `width` x `height` inches (110 pixels each) and its (rows, columns) axes.

    The figure belongs to no window: it need not be closed.
    """
    figure = _Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def series_look(index: int) -> dict[str, Any]:
    """Return colour and dashes of one of several lines: colours come again, with other dashes."""
    turn, place = divmod(index, len(SERIES))
    return {"color": SERIES[place], "linestyle": DASHES[turn % len(DASHES)]}


def class_colours(count: int) -> list[str]:
    """Return a colour for each of several classes; more than ten share colours."""
    few = (*CLASSES, GREEN, PURPLE, SKY, YELLOW, GREY)
    colours = few if count <= len(few) else MUTED
    return [colours[index % len(colours)] for index in range(count)]


def titled(axes: Axes, title: str, x: str, y: str) -> None:
    """Set the title of axes and the names of x and y."""
    axes.set(title=title, xlabel=x, ylabel=y)


def count(axes: Axes) -> None:
    """Label whole numbers only on the axis of x, such as epochs, even if there is but one."""
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))


def label_digits(axis: Axis, digits: Sequence[float]) -> None:
    """Label a logarithmic axis at these digits of every decade, without exponents."""
    axis.set_major_locator(LogLocator(subs=digits))
    axis.set_major_formatter(StrMethodFormatter("{x:,.9g}"))
    axis.set_minor_formatter(NullFormatter())


def legend(axes: Axes, handles: list[Line2D] | None = None, *, below: bool = False) -> None:
    """Add a legend to axes, inside where there is room, or below them."""
    options: dict[str, Any] = {"frameon": False, "fontsize": 10}
    if below:
        options |= {"loc": "upper center", "bbox_to_anchor": (0.5, -0.1), "ncols": 5}
    if handles is not None:
        options["handles"] = handles
    axes.legend(**options)


class Canvas(FigureCanvasAgg):
    """A canvas on which a figure has been drawn, so that parts of it can be redrawn."""

    def __init__(self, figure: Figure):
        super().__init__(figure)
        self.draw()


def drawn(figure: Figure) -> Image.Image:
    """Return a figure as an image in RGB."""
    return to_image(Canvas(figure))


def to_image(canvas: FigureCanvasAgg) -> Image.Image:
    """Return the content of a canvas as RGB, such as a frame of an animation."""
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
