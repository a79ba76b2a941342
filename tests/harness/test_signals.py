"""Signals: one unwinds the stack, once, and what must not be interrupted ends first."""

import os
import signal
import time

import pytest

from harness import signals


def test_a_signal_waits_for_what_is_not_to_be_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "_received", None)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    gentle = [True, False]
    done = []

    def whole() -> None:
        with signals.deferred():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)
            done.append("the whole of it")

    try:
        signals.listen(gently=lambda: gentle.pop(0))
        os.kill(os.getpid(), signal.SIGINT)  # dealt with gently
        with pytest.raises(KeyboardInterrupt):
            whole()
        assert done == ["the whole of it"]
        os.kill(os.getpid(), signal.SIGTERM)  # one unwinds already: more are ignored
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
