"""SIGTERM and Ctrl-C: they unwind the stack once, through every open run."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType


class Terminated(BaseException):
    """The process was asked to end (SIGTERM)."""


_received: type[BaseException] | None = None


def listen(gently: Callable[[], None] | None = None) -> None:
    """Turn the first SIGTERM or SIGINT into `Terminated` or KeyboardInterrupt, and ignore more.

    What follows the first, a last checkpoint and the end of each run, is not to be interrupted.
    With `gently`, the first SIGINT calls that instead, and it takes a second one to unwind.
    """

    def unwind(number: int, frame: FrameType | None) -> None:
        nonlocal gently
        global _received
        if gently is not None and number == signal.SIGINT:
            first, gently = gently, None
            first()
            return
        if _received is None:
            _received = KeyboardInterrupt if number == signal.SIGINT else Terminated
            raise _received

    signal.signal(signal.SIGINT, unwind)
    signal.signal(signal.SIGTERM, unwind)
    if "MLFLOW_RUN_ID" in os.environ and sys.platform == "linux":
        # `mlflow run` passes no signal on to its child: ask the kernel to, when the parent dies.
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGTERM)


def check() -> None:
    """Raise what the signal raised: a library's catch-all, mid-import, may have swallowed it."""
    if _received is not None:
        raise _received
