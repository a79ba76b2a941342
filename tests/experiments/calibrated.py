"""The temperature that a logged classifier divides its logits by."""

import mlflow.models


def temperature_of(uri: str) -> float:
    """Return the temperature that is stored with a model."""
    metadata = mlflow.models.Model.load(uri).metadata
    assert metadata is not None
    return float(metadata["calibration"]["temperature"])
