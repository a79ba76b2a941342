"""What is worth tuning in a recurrent network: cell, sizes, initialisation, training.

The task is not searched: `make tune EXPERIMENT=rnn SET="task=variable_echo length=20"` sets it.
"""

from harness.search_space import Range, SearchSpace, choice, learning_rate_decay

SPACE = SearchSpace(
    {
        "cell": choice("gru", "lstm", "rnn", "mingru", "minlstm", "lru", "s6"),
        # Auto is orthogonal or chrono; neither of these, nor identity, is defined for all cells.
        "initialisation": choice("auto", "default"),
        "hidden_size": choice(32, 64, 128, 256),
        "num_layers": choice(1, 2),
        "batch_size": choice(32, 64, 128),
        "learning_rate": Range(1e-3, 5e-2, log=True),
        **learning_rate_decay(),
        "gradient_clip_norm": Range(0.05, 2.0, log=True),
        "dropout_rate": Range(0.0, 0.5),
        "weight_decay": Range(1e-5, 1.0, log=True),
    },
    metric="val/loss",
    maximise=False,
)
