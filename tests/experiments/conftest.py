"""Small trained models, for the tests that predict with them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import experiments
from harness.run_experiment import train_and_evaluate


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
