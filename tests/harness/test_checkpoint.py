"""Checkpoints: whole or absent, and with the state of every random generator."""

import errno
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from harness.errors import UserError
from harness.training import checkpoint
from harness.training.checkpoint import Checkpoint


def test_random_generators_go_on_where_they_were(tmp_path: Path) -> None:
    def draw() -> tuple[float, float, float]:
        return random.random(), np.random.rand(), torch.rand(()).item()  # noqa: NPY002

    checkpoint.save(tmp_path / "a.pt", checkpoint.random_state())
    first = draw()
    checkpoint.set_random_state(checkpoint.load(tmp_path / "a.pt"))
    assert draw() == first


def test_a_write_that_fails_leaves_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.pt"
    checkpoint.save(path, {"epoch": 1})

    def half(state: object, file: object) -> None:
        file.write(b"half")  # type: ignore[attr-defined]
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(OSError, match=r"no space left on device: .*a\.pt"):
        checkpoint.save(path, {"epoch": 2})
    assert checkpoint.load(path) == {"epoch": 1}
    assert list(tmp_path.iterdir()) == [path], "no part of the new one"


def test_a_damaged_one_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    checkpoint.save(path, {"weights": torch.randn(1000)})
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(UserError, match=r"a\.pt is damaged") as caught:
        checkpoint.load(path)
    assert "\n" not in str(caught.value)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save({"path": Path("/")}, path)  # any class but tensors and plain values
    with pytest.raises(UserError):
        checkpoint.load(path)


def test_the_newest_state_is_written_when_due_or_flushed(tmp_path: Path) -> None:
    sent: list[Path] = []
    keeper = Checkpoint(tmp_path / "a.pt", seconds=1e9, after_save=sent.append)
    weights = torch.zeros(2)
    keeper.offer({"epoch": 1, "weights": weights})
    assert keeper.load() is None
    weights += 1  # training goes on; what was offered stays as it was
    keeper.flush()
    saved = keeper.load()
    assert saved is not None
    assert torch.equal(saved["weights"], torch.zeros(2))
    keeper.flush()
    assert len(sent) == 1
    eager = Checkpoint(tmp_path / "a.pt", seconds=0)
    eager.offer({"epoch": 2})
    assert eager.load() == {"epoch": 2}
