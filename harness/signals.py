"""SIGTERM and Ctrl-C: noted when they come, acted on where nothing is half done.

A handler that raises does so anywhere: in a library that swallows the exception, in one that
cannot be unwound (torch.export aborts the process), or between the opening of a run and the note
of its id. So the handler only notes the signal, and `check` raises at safe points: before each
training step, between the stages of a run, before each figure. Long computations and waits that may
be left at any point stand within `interruptible`, where the handler raises at once.
"""

import _thread
import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Literal


class Terminated(BaseException):
    """The process was asked to end (SIGTERM)."""


STATUS = {KeyboardInterrupt: 128 + signal.SIGINT, Terminated: 128 + signal.SIGTERM}
"""The exit status of a process that a signal has ended, as a shell gives it."""

before_exit: list[Callable[[], object]] = []
"""What is still done, in another thread, before a repeated Ctrl-C ends the process."""

_received: type[BaseException] | None = None
_interruptible = False


def listen(gently: Callable[[], bool] | None = None) -> None:
    """Note the first SIGTERM or SIGINT, for `check` to raise `Terminated` or KeyboardInterrupt.

    One more Ctrl-C does not wait for a safe point: it ends the process after `before_exit`. One
    more SIGTERM changes nothing: `mlflow run` and `timeout` send several. With `gently`, SIGINT
    calls that instead, as long as it returns that it has dealt with it.
    """

    def note(number: int, frame: FrameType | None) -> None:
        global _received
        if number == signal.SIGINT and _received is not None:
            # Not within the code that is interrupted here, which may hold any lock.
            _thread.start_new_thread(_exit_now, ())
            return
        if _received is not None or (number == signal.SIGINT and gently is not None and gently()):
            return
        _received = KeyboardInterrupt if number == signal.SIGINT else Terminated
        if _interruptible:
            raise _received

    signal.signal(signal.SIGINT, note)
    signal.signal(signal.SIGTERM, note)
    if "MLFLOW_RUN_ID" in os.environ:  # `mlflow run` passes no signal on to its child
        signal_at_death_of_parent("SIGTERM")


def note_termination() -> None:
    """Note what SIGTERM would, where a worker is asked to end in another way."""
    global _received
    _received = Terminated


def check() -> None:
    """Raise what the signal that was noted stands for, if one was: this is a safe point."""
    if _received is not None:
        raise _received


def interruptible() -> contextlib.AbstractContextManager[None]:
    """Let a signal raise at once within."""
    return _raising(at_once=True)


def deferred() -> contextlib.AbstractContextManager[None]:
    """Let a signal wait for a safe point again, in a part of what is `interruptible`."""
    return _raising(at_once=False)


@contextlib.contextmanager
def _raising(at_once: bool) -> Iterator[None]:
    global _interruptible
    before, _interruptible = _interruptible, at_once
    try:
        if at_once:
            check()
        yield
        if at_once:
            check()  # what a library may have swallowed
    finally:
        _interruptible = before


def signal_at_death_of_parent(name: Literal["SIGKILL", "SIGTERM"]) -> None:
    """Ask the kernel for a signal when the parent process ends, where it can do that (Linux)."""
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.Signals[name])


def _exit_now() -> None:
    for action in before_exit:
        with contextlib.suppress(Exception):
            action()
    sys.stderr.flush()
    os._exit(STATUS[_received or KeyboardInterrupt])
