"""A head that starts at scikit-learn's ridge classifier."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import RidgeClassifierCV
from sklearn.preprocessing import StandardScaler

from datasets.sequence_tasks import LabelledSequences
from experiments.seq_classification import random_features
from models.random_convolutions import MultiRocketHydra
from tests.models.small import sequence_classifier


@pytest.mark.parametrize("classes", [[0, 1], [0, 1, 2], [0, 2]])
@torch.no_grad()
def test_the_head_is_the_ridge_classifier_of_features_without_padding(classes: list[int]) -> None:
    model = sequence_classifier("hydra", "mean", num_symbols=0, num_channels=2, width=40)
    model.standardize.mean.fill_(3.0)
    inputs, lengths = torch.randn(30, 25, 2) + 3, torch.arange(30) % 15 + 11
    labels = torch.tensor((classes * 15)[:22] + classes[:1] * 8)  # unequally many
    model.train()
    random_features.fit(model, LabelledSequences(inputs, lengths, labels))
    assert model.training
    means = [
        model.encoder(x[None, :length] - 3, length[None])[0].mean(0)
        for x, length in zip(inputs, lengths, strict=True)
    ]
    features = StandardScaler().fit_transform((torch.stack(means) + 1e-4).sqrt().numpy())
    expected = RidgeClassifierCV(random_features.PENALTIES).fit(features, labels)
    decision = expected.decision_function(features)
    outputs = model.eval()(inputs, lengths).numpy()
    if len(classes) == 2:
        decision = np.stack([-decision, decision], axis=1)
    np.testing.assert_allclose(outputs[:, classes], decision, rtol=1e-2, atol=1e-2)
    missing = outputs[:, [k for k in range(3) if k not in classes]]
    assert (missing == -1).all()
    trained = {name.split(".")[0] for name, _ in model.named_parameters()}
    assert trained == {"head"}


@torch.no_grad()
def test_thresholds_and_head_of_multirocket_hydra_come_from_the_training_series() -> None:
    """Classes that differ in how long a value lasts: one stretch of six steps, or six of one."""
    torch.manual_seed(1)
    series = 0.1 * torch.randn(40, 30, 1)
    labels = torch.arange(40) % 2
    for row, label in enumerate(labels.tolist()):
        start = int(torch.randint(5, (1,)))
        places = slice(start, start + 6) if label else slice(start, start + 24, 4)
        series[row, places] += 3
    splits = [
        LabelledSequences(series[part], torch.full((20,), 30), labels[part])
        for part in (slice(20), slice(20, 40))
    ]
    model = sequence_classifier(
        "multirocket_hydra", "mean", num_symbols=0, num_channels=1, width=400
    )
    random_features.fit(model, splits[0])
    encoder = model.encoder
    assert isinstance(encoder, MultiRocketHydra)
    channels = model.to_channels(splits[0].inputs)
    shares = encoder.multirocket(channels, splits[0].lengths)[:, :13].mean(0)  # of the first branch
    levels = (torch.arange(13) + 1) * (1 + 5**0.5) / 2 % 1
    torch.testing.assert_close(shares, 1 - levels, atol=0.01, rtol=0)
    predicted = model(*splits[1][:2]).argmax(1)
    assert (predicted == splits[1].labels).float().mean() >= 0.9


@torch.no_grad()
def test_a_trained_encoder_is_left_as_it_is() -> None:
    model = sequence_classifier("fcn", "mean", num_symbols=0, num_channels=2)
    before = {name: values.clone() for name, values in model.state_dict().items()}
    labels = torch.tensor([0, 1, 2])
    random_features.fit(model, LabelledSequences(torch.randn(3, 9, 2), torch.full((3,), 9), labels))
    for name, values in model.state_dict().items():
        assert torch.equal(values, before[name]), name
