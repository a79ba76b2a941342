"""What the search for mislabelled photographs can be told."""

from typing import Annotated, ClassVar

from annotated_types import Ge, Le, Lt
from pydantic.dataclasses import dataclass

from experiments.data.config import PhotographsConfig
from harness.config import STRICT, Seed
from models.choices import Backbone


@dataclass(frozen=True, kw_only=True, config=STRICT)
class MislabelledConfig(PhotographsConfig):
    """List photographs whose label is probably wrong, the clearest first (confident learning)."""

    group: ClassVar[str] = "options"
    examples: ClassVar[tuple[str, ...]] = (
        "",
        "--data photographs.zip --output wrong-labels",
        "--flipped-fraction 0.05",
    )

    backbone: Backbone = "efficientnet_lite0"
    """Network pretrained on ImageNet whose features the photographs are classified by."""
    folds: Annotated[int, Ge(2), Le(100)] = 5
    """Parts of the photographs; each is classified by what was learned from the others."""
    flipped_fraction: Annotated[float, Ge(0), Lt(0.5)] = 0.0
    """Fraction of the labels to change at random first, to count how many of them are found."""
    seed: Seed = 0
    """Seed of the folds and of the labels that are changed."""
    output: str = "mislabelled"
    """Folder for the table, mislabelled.csv, and the figure of its first rows, mislabelled.png."""

    @classmethod
    def module(cls) -> str:  # noqa: D102  # it trains nothing to be tracked: no entry point of MLproject
        return "experiments.mislabelled"
