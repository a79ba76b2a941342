"""Loops over single numbers, compiled by numba where it is installed."""

from collections.abc import Callable
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])

try:
    from numba import njit

    HAS_NUMBA = True
except ImportError:
    HAS_NUMBA = False


def compiled(function: Function) -> Function:
    """Return a function of arrays and numbers, as machine code where there is numba."""
    return (
        njit(cache=True, error_model="numpy", forceinline=True)(function) if HAS_NUMBA else function
    )
