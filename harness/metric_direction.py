"""Whether more of a metric is better, or less."""

from typing import Literal

from harness.errors import UserError

Direction = Literal["auto", "maximize", "minimize"]

MINIMISED = ("loss", "error", "brier", "risk", "bits_per", "perplexity", "seconds")
MAXIMISED = ("accuracy", "mutual_information")
"""Words in the name of a metric of which less is better, and of which more is."""


def maximises(metric: str, direction: str) -> bool:
    """Return whether more of a metric is better: as `direction` says, or for auto as its name does.

    Raises:
        UserError: the name does not say it.

    """
    if direction != "auto":
        return direction == "maximize"
    found = [word for word in (*MINIMISED, *MAXIMISED) if word in metric]
    if not found:
        which = "direction=maximize or direction=minimize"
        raise UserError(f"metric={metric}: does not say whether more of it is better; add {which}")
    return found[0] in MAXIMISED
