"""Studies of users' own data: `--set data=...`."""

import re
from pathlib import Path

import mlflow
import numpy as np
import pytest
from PIL import Image

from harness.errors import UserError
from tests.tuning.lines import SPACE
from tests.tuning.test_study import children, run_study
from tuning import report
from tuning.config import StudyConfig
from tuning.study import tune


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "draw", lambda *arguments: {})


def test_photographs_of_a_folder_are_tuned_on(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    generator = np.random.default_rng(0)
    for split, count in (("train", 4), ("validation", 2)):
        for name in ("cats", "dogs"):
            folder = store / "photographs" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(0, 256, (32, 32, 3), np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    small = ("image_size=32", "num_epochs=1", "batch_size=4", "width=4", "architecture=residual")
    data = f"data={store}/photographs"
    result = tune(
        StudyConfig(experiment="cnn", set=(data, *small), trials=1, finalists=0, pruner="none")
    )
    (trial,) = children(result).values()
    assert trial.info.status == "FINISHED"
    assert trial.data.params["data"] == f"{store}/photographs"
    parent = mlflow.get_run(result.parent_id)
    for tag in ("data", "data_fingerprint"):
        assert trial.data.tags[tag] == parent.data.tags[tag] != ""
    summary = mlflow.artifacts.load_text(f"{parent.info.artifact_uri}/data/summary.txt")
    known = "Data {data} ({data_fingerprint})".format_map(trial.data.tags)
    assert summary.startswith(known)
    assert capsys.readouterr().err.count(summary) == 1


def test_data_that_are_not_there_are_said_before_there_is_a_study(store: Path) -> None:
    for experiment, name in (("cnn", "data=nowhere"), ("rnn_text", "text=nowhere.txt")):
        with pytest.raises(UserError, match=rf"(?i)^{name}: .*no such file") as caught:
            tune(StudyConfig(experiment=experiment, set=(name,), trials=1))
        assert "\n" not in str(caught.value)
    assert not Path("optuna.journal").exists()
    assert mlflow.search_runs(search_all_experiments=True).empty


def test_a_study_is_not_resumed_with_another_content_of_a_file(store: Path) -> None:
    path = store / "points.txt"
    path.write_text("0 1\n1 2\n2 3\n")
    space = SPACE.fix({"data": str(path), "batch_size": 2})
    first = run_study(space, study_name="mine", trials=1)
    path.write_text("0 1\n1 2\n2 3.5\n")
    contents = r"points \(\w{12}\)"
    message = rf"^study_name=mine: was started on {contents}, and the data are {contents} now$"
    with pytest.raises(UserError, match=message) as caught:
        run_study(space, study_name="mine", trials=2, resume=True)
    before, now = re.findall(contents, str(caught.value))
    assert before != now
    path.write_text("0 1\n1 2\n2 3\n")
    assert len(run_study(space, study_name="mine", trials=2, resume=True).study.trials) == 2
    assert mlflow.get_run(first.parent_id).info.status == "FINISHED"
