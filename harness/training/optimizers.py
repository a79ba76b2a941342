"""Optimisers, for experiments that leave the choice to the user."""

from typing import Any

import torch
from torch import nn

from harness.training.config import OptimizerName, TrainingConfig
from harness.training.muon import Muon


def build_optimizer(
    name: OptimizerName, model: nn.Module, config: TrainingConfig
) -> torch.optim.Optimizer:
    """Return AdamW (Loshchilov & Hutter 2019), SGD with Nesterov momentum, or Muon.

    Matrices and kernels decay; biases and the weights of norms do not: pulling them to zero would
    not make the function smoother. Frozen parameters are left out.
    """
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    decaying = [p for name, p in trainable.items() if decays(name, p)]
    others = [p for name, p in trainable.items() if not decays(name, p)]
    groups: list[dict[str, Any]] = [
        {"params": decaying, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if name == "adamw":
        return torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)
    if name == "muon":
        return Muon(groups, lr=config.learning_rate)
    return torch.optim.SGD(groups, lr=config.learning_rate, momentum=0.9, nesterov=True, fused=True)


def decays(name: str, parameter: nn.Parameter) -> bool:
    """Return whether weight decay is for a parameter, given its name in the model.

    Shape alone does not tell: the biases of models that are stacked along an axis are matrices.
    """
    return parameter.dim() > 1 and not name.rpartition(".")[2].startswith("bias")
