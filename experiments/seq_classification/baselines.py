"""What a network on series is compared with: the field's methods, as aeon implements them.

1-NN with dynamic time warping takes the class of the nearest training series, after both have
been stretched in time to fit best. MultiRocketHydra computes thousands of features by random
convolutions, and trains a ridge classifier on them (Dempster, Schmidt & Webb 2023). Both learn from
all series that the network is trained or validated on, and are tested on the same split.

Letters: N series, T steps, C channels.
"""

import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
from torch import Tensor

from datasets.sequence_tasks import LabelledSequences
from experiments.seq_classification.config import SequenceConfig
from experiments.seq_classification.tasks import SequenceData
from harness.errors import UserError

MIN_STEPS = 9
"""Of MultiRocketHydra: the steps that its kernels see."""
NAMES = {
    "test/multirocket_hydra_accuracy": "MultiRocketHydra",
    "test/dtw_nearest_neighbour_accuracy": "1-NN with DTW",
}
"""Of the baselines, by their metric."""


def check(config: SequenceConfig, data: SequenceData) -> None:
    """Raise a UserError if the baselines cannot be trained on the data."""
    if data.symbols:
        raise UserError("baselines=True: needs series of numbers; these are symbols")
    if (steps := longest(known(config, data))) < MIN_STEPS:
        needed = f"MultiRocketHydra's kernels need {MIN_STEPS}"
        raise UserError(f"baselines=True: the longest series has {steps} steps; {needed}")
    if find_spec("aeon") is None:
        raise UserError("baselines=True: needs the package aeon: pip install '.[vowels]'")


def accuracies(
    config: SequenceConfig, data: SequenceData, test: LabelledSequences
) -> dict[str, float]:
    """Train both on the training and the validation split; return their accuracies on the test."""
    from aeon.classification.convolution_based import MultiRocketHydraClassifier
    from aeon.classification.distance_based import KNeighborsTimeSeriesClassifier

    splits = known(config, data)
    learned = [each for split in splits for each in series(split)]
    labels = np.concatenate([split.labels.numpy() for split in splits])
    steps = longest(splits)

    def accuracy(classifier: Any, learned: Any, unknown: Any) -> float:
        predicted = classifier.fit(learned, labels).predict(unknown)
        return float((predicted == test.labels.numpy()).mean())

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of the compiler of aeon's functions
        return {
            "test/multirocket_hydra_accuracy": accuracy(
                MultiRocketHydraClassifier(random_state=config.seed),
                resampled(learned, steps),
                resampled(series(test), steps),
            ),
            "test/dtw_nearest_neighbour_accuracy": accuracy(
                KNeighborsTimeSeriesClassifier(n_neighbors=1, distance="dtw"), learned, series(test)
            ),
        }


def as_words(accuracies: dict[str, float]) -> str:
    """Return how the headline of a run ends."""
    return "".join(f"; {NAMES[metric]} {value:.4f}" for metric, value in accuracies.items())


def known(config: SequenceConfig, data: SequenceData) -> list[LabelledSequences]:
    """Return the splits of all series but those of the test."""
    return [data.train] if config.refit else [data.train, data.validation]


def longest(splits: Sequence[LabelledSequences]) -> int:
    """Return the steps of the longest series."""
    return max(int(split.lengths.max()) for split in splits)


def series(split: LabelledSequences) -> list[np.ndarray]:
    """Return the series without their padding, (C, T) float64 each, as aeon takes them."""
    pairs: zip[tuple[Tensor, Tensor]] = zip(split.inputs, split.lengths, strict=True)
    return [inputs[: int(length)].double().numpy().T for inputs, length in pairs]


def resampled(several: list[np.ndarray], steps: int) -> np.ndarray:
    """Return series (C, T) of any length as (N, C, steps), linearly interpolated.

    MultiRocketHydra takes series of one length; those that have it stay as they are.
    """

    def resample(channel: np.ndarray) -> Any:
        return np.interp(np.linspace(0, len(channel) - 1, steps), range(len(channel)), channel)

    return np.array([[resample(channel) for channel in each] for each in several])
