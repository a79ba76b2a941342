"""SIGTERM and Ctrl-C: they unwind the stack once, through every open run."""

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType


class Terminated(BaseException):
    """The process was asked to end (SIGTERM)."""


_received: type[BaseException] | None = None
_deferred = False


def listen(gently: Callable[[], bool] | None = None) -> None:
    """Turn the first SIGTERM or SIGINT into `Terminated` or KeyboardInterrupt, and ignore more.

    What follows the first, a last checkpoint and the end of each run, is not to be interrupted.
    With `gently`, SIGINT calls that instead, as long as it answers that it has dealt with it.
    """

    def unwind(number: int, frame: FrameType | None) -> None:
        global _received
        if _received is not None or (number == signal.SIGINT and gently is not None and gently()):
            return
        _received = KeyboardInterrupt if number == signal.SIGINT else Terminated
        if not _deferred:
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


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Let what stands within end before a signal that comes meanwhile unwinds."""
    global _deferred
    _deferred = True
    before = _received
    try:
        yield
    finally:
        _deferred = False
        if before is None:
            check()
