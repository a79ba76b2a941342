"""The photographs that networks are trained on."""

from experiments.data.config import DataConfig, PhotographsConfig
from harness.lazy import lazy

__getattr__ = lazy(__name__, load_photographs="command")
__all__ = ["DataConfig", "PhotographsConfig", "load_photographs"]
