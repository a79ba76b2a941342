"""Values that are missing within a series."""

import numpy as np


def fill_gaps(values: np.ndarray) -> np.ndarray:
    """Replace each NaN by linear interpolation between its neighbours, at the ends by the nearest.

    Args:
        values: (T, C) float, T steps of C channels.

    Raises:
        ValueError: a channel has no value at all; the message names it, from 1.

    """
    filled, steps = values.copy(), np.arange(len(values))
    for channel, column in enumerate(filled.T, start=1):
        missing = np.isnan(column)
        if missing.all():
            raise ValueError(f"channel {channel} has no value")
        column[missing] = np.interp(steps[missing], steps[~missing], column[~missing])
    return filled
