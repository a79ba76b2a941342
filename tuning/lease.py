"""The lease of a study: one process holds it and ends the study, the others only run trials."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import optuna

from harness.tracking.processes import process_lives, this_process
from tuning import retries

OWNER = "owner"
SETTLE_SECONDS = 0.3
"""Time for another process's claim at the same moment to become visible: the last one counts."""


@contextlib.contextmanager
def lease(study: optuna.Study) -> Iterator[bool]:
    """Take the lease of a study, if it is free; yield whether this process holds it.

    A thread renews it as long as it is held: other machines cannot see the process.
    """
    if not _claim(study):
        yield False
        return
    ended = threading.Event()

    def heartbeat() -> None:
        while not ended.wait(retries.HEARTBEAT_SECONDS):
            study.set_user_attr(OWNER, _this_process())

    thread = threading.Thread(target=heartbeat, daemon=True)
    thread.start()
    try:
        yield True
    finally:
        ended.set()
        thread.join()
        study.set_user_attr(OWNER, {})


def _claim(study: optuna.Study) -> bool:
    owner = study.user_attrs.get(OWNER, {})
    if owner and not _is_this_process(owner):
        is_here = owner["host"] == socket.gethostname()
        silence = time.time() - float(owner["seen"])
        if process_lives(owner) if is_here else silence < retries.STALE_SECONDS:
            return False
    study.set_user_attr(OWNER, _this_process())
    time.sleep(SETTLE_SECONDS)
    return _is_this_process(study.user_attrs[OWNER])


def _is_this_process(owner: dict[str, Any]) -> bool:
    here = this_process()
    return all(owner.get(name) == here[name] for name in ("host", "process_id"))


def _this_process() -> dict[str, Any]:
    return {**this_process(), "seen": time.time()}
