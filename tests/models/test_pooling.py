"""Pooling against the same, sequence by sequence and without padding."""

import math
from typing import get_args

import torch

from models.choices import PoolingName
from models.pooling import Pooling

POOLINGS: tuple[PoolingName, ...] = get_args(PoolingName)


@torch.no_grad()
def test_pooling_equals_its_definition() -> None:
    features, lengths = torch.randn(2, 5, 4), torch.tensor([3, 5])
    for kind in POOLINGS:
        pool = Pooling(kind, 4)
        for row, length in enumerate(lengths.tolist()):
            steps = features[row, :length]
            if kind == "last":
                expected = steps[-1]
            elif kind == "mean":
                expected = steps.mean(0)
            elif kind == "max":
                expected = steps.max(0).values
            else:
                assert pool.score is not None
                scores = [math.exp(float(pool.score(step))) for step in steps]
                expected = sum(s / sum(scores) * x for s, x in zip(scores, steps, strict=True))
            torch.testing.assert_close(pool(features, lengths)[row], expected)
    weights = Pooling("attention", 4).weights(features, lengths)
    torch.testing.assert_close(weights.sum(1), torch.ones(2))
    assert (weights[0, 3:] == 0).all()
