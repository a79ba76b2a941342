"""Mixture of experts: how many experts, how they are mixed, how the gate is built and trained."""

from experiments.moe import EXPERIMENT
from tuning.space import Space, choice, learning_rate_decay, numbers

SPACE = Space(
    EXPERIMENT,
    {
        "num_experts": numbers(2, 8),
        "mixing": choice("probabilities", "logits"),
        "gate_hidden": choice(0, 4, 8, 16),
        "gate_temperature": numbers(1.0, 300.0, log=True),
        "batch_size": choice(200, 500, 1000),
        "learning_rate": numbers(0.003, 1.0, log=True),
        **learning_rate_decay(num_epochs=20),
        "weight_decay": numbers(1e-6, 0.1, log=True),
        "balance_loss_weight": choice(0.0, 0.01, 0.1),
    },
)
