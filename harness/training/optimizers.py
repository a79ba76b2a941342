"""Optimisers, for experiments that leave the choice to the user."""

import torch
from torch import nn

from harness.config import OptimizerName, TrainingConfig
from harness.training.muon import Muon


def build_optimizer(
    name: OptimizerName, model: nn.Module, config: TrainingConfig
) -> torch.optim.Optimizer:
    """Return AdamW (Loshchilov & Hutter 2019), SGD with Nesterov momentum, or Muon.

    Matrices and kernels decay; biases and the weights of norms, which are vectors, do not: pulling
    them to zero would not make the function smoother. Frozen parameters are left out.
    """
    trainable = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.dim() > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trainable if p.dim() <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if name == "adamw":
        return torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)
    if name == "muon":
        return Muon(groups, lr=config.learning_rate)
    return torch.optim.SGD(groups, lr=config.learning_rate, momentum=0.9, nesterov=True, fused=True)
