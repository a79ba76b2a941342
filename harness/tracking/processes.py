"""Which process a run belongs to, and whether that process still exists."""

import os
import socket
from collections.abc import Mapping

import psutil

CLOCK_STEP_SECONDS = 2.0


def process_tags() -> dict[str, str]:
    """Return what tells this process from any other, as `process_lives` reads it."""
    return {
        "host": socket.gethostname(),
        "process_id": str(os.getpid()),
        "process_started": f"{psutil.Process().create_time():.2f}",
    }


def process_lives(tags: Mapping[str, str]) -> bool:
    """Return whether the process that wrote these tags of a run still exists on this machine."""
    if tags.get("host") != socket.gethostname():
        return False
    try:
        began = psutil.Process(int(tags["process_id"])).create_time()
        # The clock, by which it is measured, may have been set since.
        return abs(began - float(tags["process_started"])) < CLOCK_STEP_SECONDS
    except (psutil.NoSuchProcess, KeyError, ValueError):
        return False


def process_gone(tags: Mapping[str, str]) -> bool:
    """Return whether the process that wrote these tags ran on this machine and has ended."""
    return tags.get("host") == socket.gethostname() and not process_lives(tags)
