"""Which process is in charge of a study: one of them ends it, the others only help."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import optuna

from experiments.harness import tracking
from tuning.storage import HEARTBEAT_SECONDS, STALE_SECONDS

OWNER = "owner"
CLAIM_SECONDS = 0.3
"""Time for another claim at the same moment to become visible: the last one counts."""


@contextlib.contextmanager
def charge(study: optuna.Study) -> Iterator[bool]:
    """Take charge of a study, if nobody is; yield whether this process is.

    While it lasts, a thread says so again and again: other machines cannot see the process.
    """
    if not _claim(study):
        yield False
        return
    ended = threading.Event()

    def keep_saying_so() -> None:
        while not ended.wait(HEARTBEAT_SECONDS):
            study.set_user_attr(OWNER, _here())

    thread = threading.Thread(target=keep_saying_so, daemon=True)
    thread.start()
    try:
        yield True
    finally:
        ended.set()
        thread.join()
        study.set_user_attr(OWNER, {})


def _claim(study: optuna.Study) -> bool:
    if _is_taken(study.user_attrs.get(OWNER, {})):
        return False
    study.set_user_attr(OWNER, _here())
    time.sleep(CLAIM_SECONDS)
    return _is_here(study.user_attrs[OWNER])


def _is_taken(owner: dict[str, Any]) -> bool:
    if not owner or _is_here(owner):
        return False
    if owner["host"] == socket.gethostname():
        return tracking.process_lives(owner)
    return time.time() - float(owner["seen"]) < STALE_SECONDS


def _is_here(owner: dict[str, Any]) -> bool:
    here = tracking.process_tags()
    return all(owner.get(name) == here[name] for name in ("host", "process_id"))


def _here() -> dict[str, Any]:
    return {**tracking.process_tags(), "seen": time.time()}
