"""What is worth tuning in a network that predicts text: cell, sizes, regularisation, training."""

from harness.search_space import Range, SearchSpace, choice, learning_rate_decay

SPACE = SearchSpace(
    {
        "cell": choice("lstm", "gru", "minlstm", "s6"),
        "hidden_size": choice(128, 256, 384, 512),
        "num_layers": choice(1, 2),
        "embedding_size": choice(0, 16, 32, 64),
        "optimizer": choice("adamw", "muon"),
        "batch_size": choice(16, 32, 64),
        "length": choice(32, 64, 128),
        "learning_rate": Range(5e-4, 3e-2, log=True),
        **learning_rate_decay(),
        "gradient_clip_norm": Range(0.05, 2.0, log=True),
        "dropout_rate": Range(0.0, 0.7),
        "longest_ngram": choice(0, 6, 16),
        "embedding_dropout_rate": Range(0.0, 0.5),
        "weight_decay": Range(1e-3, 1.0, log=True),
        "ema_decay": choice(0.0, 0.9, 0.98),
    },
    metric="val/loss",
    maximise=False,
)
