"""All architectures at once: found, trained as children, compared; one failure loses nothing."""

from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow.tracking import MlflowClient

from experiments.main import command as main
from experiments.main.config import MainConfig
from harness.errors import UserError


def test_it_finds_the_architectures_and_not_their_variants() -> None:
    found = main.architectures(MainConfig())
    assert {"cnn", "moe", "rnn", "seq_classification"} <= set(found)
    assert all(each.config_class.family == name for name, each in found.items())
    with pytest.raises(UserError, match="only=mo: no such architecture"):
        main.architectures(MainConfig(only=("mo",)))


def test_small_settings_are_valid_and_need_no_network() -> None:
    for experiment in main.architectures(MainConfig()).values():
        config = experiment.config_class(**experiment.config_class.small)
        assert getattr(config, "data", "") != "download"


@pytest.mark.parametrize("failure", [ArithmeticError, UserError])
def test_a_failure_is_reported_at_the_end_and_the_rest_is_compared(
    failure: type[Exception],
    store: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*arguments: Any) -> Any:
        raise failure("no numbers left")

    known = main.architectures(MainConfig(only=("rnn", "moe")))
    monkeypatch.setattr(type(known["rnn"]), "evaluate", fail)
    monkeypatch.setattr(type(known["moe"]), "figures", lambda *_: iter(()))
    monkeypatch.setattr(main, "architectures", lambda config: known)
    mlflow.create_experiment("comparison", f"file://{store}/artifacts")
    with pytest.raises(failure, match="no numbers left"):
        main.main(MainConfig(num_epochs=1))
    assert "1 run by architecture: moe comes first" in capsys.readouterr().out
    place = mlflow.get_experiment_by_name("comparison")
    runs = {run.info.run_name: run for run in MlflowClient().search_runs([place.experiment_id])}
    expected = {"main": "FAILED", "rnn": "FAILED", "moe": "FINISHED"}
    assert {name.split()[0]: run.info.status for name, run in runs.items()} == expected
    parent = runs["main num_epochs=1"]
    for name, run in runs.items():
        if run is not parent:
            assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id, name
    files = {file.path for file in MlflowClient().list_artifacts(parent.info.run_id)}
    assert "report.html" in files
    note = parent.data.tags["mlflow.note.content"]
    assert "```\npython -m experiments.main --num-epochs 1\n```" in note
