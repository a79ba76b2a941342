"""Mixture of experts on points in the plane."""

from experiments.moe.config import MoEConfig
from harness.lazy import lazy

__getattr__ = lazy(__name__, MixtureOfLinearExperts="lesson")
__all__ = ["MixtureOfLinearExperts", "MoEConfig"]
