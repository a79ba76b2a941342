"""That what is learned about a classifier's probabilities is kept with the model that is logged."""

from collections.abc import Callable

import pytest

import experiments
from harness.inference.request import ClassifyRequest
from harness.tracking import models


@pytest.mark.parametrize(
    ("name", "text"),
    [("moe", "0.5,-1.2"), ("seq_classification", "BacXbdcYaE")],
)
def test_a_logged_classifier_is_calibrated(
    name: str, text: str, trained: Callable[..., str]
) -> None:
    model = models.load(trained(name))
    inference = experiments.find(name).companion("inference").INFERENCE
    sure, unsure = (
        next(inference.predict(ClassifyRequest(model="m", inputs=(text,), coverage=each), model))
        for each in (0.0, 0.999)
    )
    assert model.metadata["calibration"]["temperature"] > 0
    assert "prediction_set" not in sure
    assert unsure["prediction_set"] == list(model.metadata["classes"])  # of so few samples
    assert sure["probability"] == unsure["probability"]
