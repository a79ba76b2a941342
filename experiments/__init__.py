"""Experiments: one folder for each, and one for each command that works with what they log.

import experiments
moe = experiments.find("moe")
"""

import importlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import UserError
from harness.project import ROOT, configurations
from harness.training.config import TrainingConfig
from harness.wording import nearest

if TYPE_CHECKING:
    from harness.experiment import AnyExperiment

_found = importlib.util.find_spec("datasets")
_origin = Path(_found.origin or "") if _found else Path()
if _origin.resolve().parent != (ROOT / "datasets").resolve():
    raise ImportError(
        f"datasets: {_origin} is another package of that name (Hugging Face's?); put "
        f"`import dl_experiments` before all other imports, or run `dl-experiments` or from {ROOT}"
    )


def names() -> list[str]:
    """Return the names of the experiments: the entry points that train."""
    found = configurations(__name__).items()
    return [name for name, config_class in found if issubclass(config_class, TrainingConfig)]


def find(name: str) -> "AnyExperiment":
    """Return the experiment of an entry point; a UserError if there is none of that name."""
    if name not in names():
        hint = nearest(name, names(), otherwise=f"; there are {', '.join(names())}")
        raise UserError(f"experiment={name}: no experiment of that name{hint}")
    experiment: AnyExperiment = importlib.import_module(f"{__name__}.{name}.lesson").EXPERIMENT
    return experiment
