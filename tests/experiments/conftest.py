"""Small trained models, for the tests that ask them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from experiments.harness import project, tracking
from experiments.harness.config import TrainingConfig
from experiments.harness.device import Hardware, seed_everything

EXPERIMENTS = project.experiments()


@pytest.fixture(scope="module")
def trained(module_store: Path) -> Callable[..., str]:
    """Train small models on demand, each once; return their URIs."""
    uris: dict[str, str] = {}

    def train(name: str, **changes: Any) -> str:
        key = f"{name} {changes}"
        if key not in uris:
            experiment = EXPERIMENTS[name]
            tiny = experiment.config_class.tiny
            config: TrainingConfig = experiment.config_class(**{**tiny, **changes})
            hardware = Hardware.choose(config)
            seed_everything(0)
            with tracking.track(config, hardware.name) as run:
                learnt = experiment.learn(config, hardware, run)
                run.log_model(learnt.model, learnt.example, learnt.varying, learnt.meaning)
            uris[key] = f"runs:/{run.run_id}/model"
        return uris[key]

    return train
