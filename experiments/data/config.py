"""What the command `data` can be told, and which photographs experiments can ask for."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Le
from pydantic.dataclasses import dataclass

from datasets.choices import Resize
from harness.config import STRICT, Configuration


@dataclass(frozen=True, kw_only=True, config=STRICT)
class PhotographsConfig(Configuration):
    """Which photographs are used, and at which size."""

    group: ClassVar[str] = "data"

    data: str = "download"
    """Photographs: download (cats and dogs), synthetic (a substitute), or the path of one's own."""
    data_dir: str = ""
    """Folder for what is downloaded and decoded (empty: the user's cache folder)."""
    image_size: Annotated[int, Ge(16), Le(1024)] | Literal["auto"] = "auto"
    """Width and height in pixels (auto: 112; pretrained: those that the backbone was made for)."""
    resize: Resize = "crop"
    """How photographs become squares (crop: the middle, in proportion; squish: the whole)."""

    @property
    def pixels(self) -> int:
        """Width and height, in pixels, that each photograph is resized to."""
        return 112 if self.image_size == "auto" else self.image_size


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DataConfig(PhotographsConfig):
    """Load photographs, decode them once, and show their numbers by class and split."""

    entry_point: ClassVar[str] = "data"
    examples: ClassVar[tuple[str, ...]] = ("", "--data photographs.zip --image-size 64")
    tiny: ClassVar[Mapping[str, Any]] = {"data": "synthetic", "image_size": 16}
