"""What the command `data` can be told, and which photographs experiments can ask for."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from annotated_types import Ge, Le
from pydantic.dataclasses import dataclass

from harness.config import STRICT, Configuration


@dataclass(frozen=True, kw_only=True, config=STRICT)
class PhotographsConfig(Configuration):
    """Which photographs are used, and at which size."""

    group: ClassVar[str] = "data"

    data: str = "download"
    """Photographs: download (cats and dogs), synthetic (a substitute), or the path of one's own."""
    data_dir: str = ""
    """Folder for what is downloaded and decoded (empty: the user's cache folder)."""
    image_size: Annotated[int, Ge(16), Le(1024)] = 128
    """Width and height, in pixels, that each photograph is resized to."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DataConfig(PhotographsConfig):
    """Load photographs, decode them once, and show their numbers by class and split."""

    entry_point: ClassVar[str] = "data"
    examples: ClassVar[tuple[str, ...]] = ("", "--data photographs.zip --image-size 64")
    tiny: ClassVar[Mapping[str, Any]] = {"data": "synthetic", "image_size": 16}
