"""Small trained models, and what the tests of several experiments check alike."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import experiments
from harness.experiment import AnyExperiment
from harness.run_experiment import run_experiment, train_and_evaluate
from harness.signals import Terminated
from harness.tracking.lifecycle import track
from harness.training.train import train


def check_resuming(experiment: AnyExperiment, config: Any) -> None:
    """Check that a run that is interrupted and resumed has the numbers of an undisturbed one."""
    undisturbed = train(experiment, config)
    evaluation = experiment.evaluate(config, undisturbed, undisturbed.data.test)

    def interrupt(progress: Any) -> None:
        if progress.epoch == 3:
            raise Terminated

    with pytest.raises(Terminated), track(config, "cpu") as run:
        train(experiment, config, callbacks=[interrupt], recorder=run)
    resumed = run_experiment(experiment, type(config)(resume=run.run_id))
    expected = undisturbed.history.best_metrics() | evaluation.metrics
    assert expected.items() <= resumed.metrics.items()
    assert len(expected) >= 3


@pytest.fixture(scope="module")
def trained(module_store: Path) -> Callable[..., str]:
    """Train small models on demand, each once; return their URIs."""
    uris: dict[str, str] = {}

    def train(name: str, **changes: Any) -> str:
        key = f"{name} {changes}"
        if key not in uris:
            experiment = experiments.find(name)
            config_class = experiment.config_class
            config = config_class(**{**config_class.tiny, **changes})
            run = train_and_evaluate(experiment, config, read_test=False)
            uris[key] = f"runs:/{run.run_id}/model"
        return uris[key]

    return train
