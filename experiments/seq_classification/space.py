"""What is worth tuning in a sequence classifier; the task is fixed: `--set num_marks=3`."""

from harness.search_space import Range, SearchSpace, choice, learning_rate_decay

SPACE = SearchSpace(
    {
        "encoder": choice("gru", "lstm", "mingru", "lru", "s6", "tcn", "fcn", "transformer"),
        "pooling": choice("last", "mean", "max", "attention"),
        "width": choice(8, 16, 32, 64),
        "num_layers": choice(1, 2, 4),
        "batch_size": choice(10, 20, 50),
        "learning_rate": Range(1e-3, 2e-1, log=True),
        **learning_rate_decay(),
        "gradient_clip_norm": Range(0.05, 5.0, log=True),
        "dropout_rate": Range(0.0, 0.5),
        "weight_decay": Range(1e-5, 0.1, log=True),
    },
    metric="val/loss",
    maximise=False,
)
"""The initialisation is left out: `auto` suits each encoder, and few others are defined for all."""
