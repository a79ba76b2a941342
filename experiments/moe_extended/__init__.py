"""A larger mixture of experts, and how many experts the problem needs."""

from experiments.moe_extended.config import MoEExtendedConfig
from harness.lazy import lazy

__getattr__ = lazy(__name__, NumbersOfExperts="lesson")
__all__ = ["MoEExtendedConfig", "NumbersOfExperts"]
