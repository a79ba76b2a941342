"""Checkpoints: the whole state of a training run, in a file that is whole or absent."""

import os
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from harness.errors import UserError

State = dict[str, Any]


def save(path: Path, state: State) -> None:
    """Write `state` so that `path` holds the old checkpoint or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".partial")
    try:
        with temporary.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, RuntimeError) as error:
        # Where a write fails, torch raises an error of its own, and no file is named.
        refused = error if isinstance(error, OSError) else error.__context__
        if not isinstance(refused, OSError):
            raise
        refused.filename = refused.filename or str(path)
        raise refused from None
    finally:
        temporary.unlink(missing_ok=True)  # what is left of it where the disk is full
    if sys.platform == "win32":  # it opens no folders
        return
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)  # the new name, too, survives a loss of power
    finally:
        os.close(directory)


def load(path: Path) -> State:
    """Read a checkpoint onto the CPU, without running any code that it might hold.

    Raises:
        UserError: the file is damaged or no checkpoint.

    """
    try:
        state: State = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged archive can fail in many ways, all meaning the same
        reason = str(error).split("\n")[0]
        raise UserError(f"resume: checkpoint {path} is damaged or not one ({reason})") from None
    return state


def random_state() -> State:
    """Return the state of Python's generator, NumPy's, and torch's on CPU and GPU in use."""
    _, keys, *rest = np.random.get_state()  # noqa: NPY002
    return {
        "python": random.getstate(),
        "numpy": (torch.from_numpy(np.asarray(keys)), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None,
        "mps": torch.mps.get_rng_state() if torch.backends.mps.is_available() else None,
    }


def set_random_state(state: State) -> None:
    """Put back what `random_state` returned."""
    random.setstate(state["python"])
    keys, *rest = state["numpy"]
    np.random.set_state(("MT19937", keys.numpy(), *rest))  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and torch.cuda.is_initialized():
        torch.cuda.set_rng_state(state["cuda"])
    if state.get("mps") is not None and torch.backends.mps.is_available():
        torch.mps.set_rng_state(state["mps"])


def _copy(state: Any) -> Any:
    """Copy what training changes in place, tensors and the containers that hold them."""
    if isinstance(state, torch.Tensor):
        return state.detach().clone()
    if isinstance(state, dict):
        return {key: _copy(value) for key, value in state.items()}
    if isinstance(state, list):
        return [_copy(value) for value in state]
    return state


@dataclass(eq=False)
class Checkpoint:
    """The checkpoint of one run: an interrupted one loses only the epoch it was in."""

    path: Path
    seconds: float
    """Least time between two writes."""
    after_save: Callable[[Path], None] | None = None
    """Called with the path after each write, to send it elsewhere."""
    _pending: State | None = field(default=None, init=False)
    _written: float = field(default_factory=time.monotonic, init=False)

    def load(self) -> State | None:
        """Return the saved state, or None where there is none yet; see `load`."""
        return load(self.path) if self.path.exists() else None

    def offer(self, state: State) -> None:
        """Keep a copy of an epoch's final state as the newest, and write it if it is time to."""
        self._pending = _copy(state)
        if time.monotonic() - self._written >= self.seconds:
            self.flush()

    def flush(self) -> None:
        """Write the newest state now, if it is not written yet."""
        if self._pending is not None:
            save(self.path, self._pending)
            self._pending, self._written = None, time.monotonic()
            if self.after_save is not None:
                self.after_save(self.path)
