"""Comparison of encoders: comparable recipes, metrics, timing."""

import math
from collections.abc import Callable
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch

from experiments.seq_classification.inference import predict
from experiments.seq_encoders import lesson
from experiments.seq_encoders.config import EncodersConfig
from experiments.seq_encoders.lesson import EXPERIMENT
from harness.errors import UserError
from harness.inference.request import ClassifyRequest
from harness.run_experiment import run_experiment
from harness.tracking.models import load
from models.choices import ENCODERS, EncoderName
from models.size import num_parameters


def small(**changes: object) -> EncodersConfig:
    return EncodersConfig(**{**EncodersConfig.tiny, **changes})


@pytest.mark.parametrize("encoder", ENCODERS)
def test_each_encoder_has_about_the_same_number_of_parameters(encoder: EncoderName) -> None:
    config = small(match_parameters=20_000, level="hard")
    data = EXPERIMENT.load_data(config)
    model = EXPERIMENT.build_model(lesson.recipe(config, encoder, data), data)
    assert num_parameters(model) == pytest.approx(20_000, rel=0.1)


def test_too_few_parameters_for_one_of_the_encoders_are_refused_before_any_run() -> None:
    """S6 has two layers here; a GRU, which would be trained first, has few parameters."""
    config = small(match_parameters=500, level="hard")
    with pytest.raises(UserError, match=r"match_parameters=500: .*encoder=s6 has [\d,]+ param"):
        EXPERIMENT.load_data(config)


def test_convolutions_reach_back_to_the_first_step_of_the_longest_sequence() -> None:
    config = small(level="moderate", match_parameters=2_000)
    data = EXPERIMENT.load_data(config)
    model = EXPERIMENT.build_model(lesson.recipe(config, "tcn", data), data).eval()
    channels = torch.rand(1, data.horizon, len(data.symbols), requires_grad=True)
    features = model.encoder(channels, torch.tensor([data.horizon]))
    (gradient,) = torch.autograd.grad(features[0, -1].square().sum(), channels)
    assert gradient[0, 0].abs().sum() > 0


def test_a_seed_that_never_solved_the_task_leaves_out_the_mean() -> None:
    accuracies, solved = np.array([[0.5, 1.0], [0.5, 0.9]]), np.array([1000.0, math.inf])
    metrics = lesson.encoder_metrics(accuracies, solved)
    assert metrics["seeds_solved"] == 1
    assert metrics["val_accuracy_mean"] == pytest.approx(0.95)
    assert "sequences_to_solve_mean" not in metrics


@pytest.mark.parametrize("shape", [(4, 7), (4, 7, 3)])
def test_the_timed_sequences_have_the_length_asked_for(shape: tuple[int, ...]) -> None:
    lengths_seen = []

    class Network(torch.nn.Module):
        def forward(self, inputs: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
            lengths_seen.append((inputs.shape[1], lengths.tolist()))
            return inputs

    assert lesson.milliseconds(Network(), torch.zeros(shape), 20) > 0
    assert set(map(str, lengths_seen)) == {str((20, [20] * 4))}


def test_a_model_of_the_comparison_predicts(trained: Callable[..., str]) -> None:
    uri = trained("seq_encoders")
    (row,) = predict(ClassifyRequest(model=uri, inputs=("BacXbYE",)), load(uri))
    assert row["class"] in ("XX", "XY", "YX", "YY")


def test_every_encoder_has_its_metrics_and_the_comparison_its_figures(store: Path) -> None:
    run = run_experiment(EXPERIMENT, small(seeds_of_each=1, num_epochs=1))
    for encoder in ENCODERS:
        assert f"by_encoder/{encoder}_val_accuracy_mean" in run.metrics
    files = {file.path for file in mlflow.MlflowClient().list_artifacts(run.run_id, "figures")}
    names = ("encoders", "sequences_to_solve", "time_by_length", "confusion")
    assert files >= {f"figures/{name}.png" for name in names}
