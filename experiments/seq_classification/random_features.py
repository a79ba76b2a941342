"""What of an encoder of random features is computed in closed form.

Thresholds are quantiles over training series; features are scaled; a ridge classifier follows.
A few dozen series are too few for gradients to choose among thousands of features: the least
squares, with a penalty chosen by leaving each series out once, were better (docs/results.md).

Letters: N sequences, F features, K classes.
"""

import numpy as np
import torch
from sklearn.linear_model import RidgeClassifierCV

from datasets.sequence_tasks import LabelledSequences
from models.random_convolutions import MultiRocketHydra, RandomFeatureScaling
from models.sequence_classifier import SequenceClassifier

PENALTIES = np.logspace(-3, 3, 10)
"""Of the squared weights, as of the ridge classifiers of the Rocket family."""
MAX_SERIES = 32
"""How many training series the thresholds of MultiRocket are taken from, at most."""


@torch.no_grad()
def fit(model: SequenceClassifier, train: LabelledSequences) -> None:
    """Start the head of an untrained encoder at the ridge classifier; others stay as they are.

    MultiRocket takes its thresholds first.

    It predicts 1 for the class of a sequence, and -1 for the others; training goes on from there.
    """
    if not isinstance(model.scale, RandomFeatureScaling) or model.head.weight.is_meta:
        return  # nothing to be fitted, or shapes without numbers
    was_training = model.training
    model.eval()
    if isinstance(model.encoder, MultiRocketHydra):
        few = torch.linspace(0, len(train.labels) - 1, min(len(train.labels), MAX_SERIES)).long()
        lengths = train.lengths[few]
        model.encoder.multirocket.fit(model.to_channels(train.inputs[few]), lengths)
    batches = zip(train.inputs.split(20), train.lengths.split(20), strict=True)
    pooled = torch.cat([model.pooled(model.to_channels(x), lengths) for x, lengths in batches])
    model.scale.fit(pooled)
    features, labels = model.scale(pooled).numpy(), train.labels.numpy()  # (N, F), (N,)
    ridge = RidgeClassifierCV(PENALTIES).fit(features, labels)
    weight, bias = np.atleast_2d(ridge.coef_), np.atleast_1d(ridge.intercept_)
    if len(weight) == 1:  # of two classes, scikit-learn has the weights of the second alone
        weight, bias = np.concatenate([-weight, weight]), np.concatenate([-bias, bias])
    model.head.weight.zero_()[ridge.classes_] = torch.from_numpy(weight).float()
    model.head.bias.fill_(-1)[ridge.classes_] = torch.from_numpy(bias).float()
    model.train(was_training)
