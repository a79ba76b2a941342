"""The photographs of cats and dogs."""

from experiments.data.config import DataConfig, PhotographsConfig
from harness.lazy import lazy

__getattr__ = lazy(__name__, load_photographs="command")
__all__ = ["DataConfig", "PhotographsConfig", "load_photographs"]
