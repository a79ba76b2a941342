"""The command that loads the photographs and shows what they are."""

from pathlib import Path

import pytest

from datasets import cats_and_dogs
from experiments.data import DataConfig, PhotographsConfig, load_photographs
from experiments.data.command import main
from harness.errors import UserError
from tests.datasets.test_photographs import write_folder


def test_no_network_is_an_error_of_the_parameter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cats_and_dogs, "URL", "http://127.0.0.1:1/a.zip")
    with pytest.raises(UserError) as caught:
        load_photographs(PhotographsConfig(data_dir=str(tmp_path), image_size=16))
    assert str(caught.value) == (
        "data=download: http://127.0.0.1:1/a.zip cannot be downloaded (ConnectionError); "
        "data=PATH reads your own zip or folder, data=synthetic generates a substitute"
    )


def test_the_command_prints_counts_and_source(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_folder(tmp_path / "photographs")
    (folder / "train" / "dogs" / "a\nb.jpg").write_text("a dog")
    main(DataConfig(data=str(folder), data_dir=str(tmp_path / "cache"), image_size=16))
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[:4] == [
        ["train", "validation", "test"],
        ["class"],
        ["cats", "3", "4", "3"],
        ["dogs", "3", "3", "4"],
    ]
    assert lines[5][:3] == ["16", "x", "16"]
    assert lines[6] == ["read", "from", str(folder)]
    assert lines[7:] == [["skipped:", "1"], [r"'train/dogs/a\nb.jpg':", "not", "an", "image"]]
