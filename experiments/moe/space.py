"""What is worth tuning in a mixture of experts."""

from harness.search_space import Range, SearchSpace, choice, learning_rate_decay

SPACE = SearchSpace(
    {
        "num_experts": Range(2, 8),
        "mixing": choice("probabilities", "logits"),
        "gate_hidden": choice(0, 4, 8, 16),
        "gate_temperature": Range(1.0, 300.0, log=True, start=5.0),  # auto, of the default data
        "batch_size": choice(200, 500, 1000),
        "learning_rate": Range(0.003, 1.0, log=True),
        **learning_rate_decay(num_epochs=20),
        "weight_decay": Range(1e-6, 0.1, log=True),
        "balance_loss_weight": choice(0.0, 0.01, 0.1),
    }
)
