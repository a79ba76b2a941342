"""Search spaces, one file per experiment; a new one enrols by adding its file."""

import importlib
import pkgutil

from experiments.harness.config import nearest
from experiments.harness.errors import UserError
from tuning.space import Space


def names() -> list[str]:
    """Return the experiments that have a search space."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def find(name: str) -> Space:
    """Return the search space of an experiment.

    Raises:
        UserError: there is none.

    """
    if name not in names():
        allowed = ", ".join(names())
        hint = nearest(name, names())
        raise UserError(f"experiment={name}: has no search space; allowed are {allowed}{hint}")
    space: Space = importlib.import_module(f"tuning.spaces.{name}").SPACE
    return space
