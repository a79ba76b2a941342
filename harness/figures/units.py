"""Heat maps of hidden units over the steps of a sequence."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage


def alike(values: np.ndarray) -> np.ndarray:
    """Return an order of the columns of (T, F) in which similar ones are neighbours.

    They are sorted by their loading on the first principal component.
    """
    *_, directions = np.linalg.svd(values - values.mean(0), full_matrices=False)
    return np.argsort(directions[0], kind="stable")


def draw_units(axes: Axes, values: np.ndarray, order: np.ndarray, limit: float = 0) -> AxesImage:
    """Draw values (T, F) of units in this order, from step to step; zero is white.

    Colours reach from -limit to limit (0: to the largest absolute value).
    """
    limit = limit or np.abs(values).max() or 1.0
    axes.set_yticks([])
    look: dict[str, Any] = {"aspect": "auto", "interpolation": "nearest"}
    return axes.imshow(values[:, order].T, "RdBu_r", vmin=-limit, vmax=limit, **look)
