"""Recurrent network: its cell and size, how it starts, how it is trained.

The task is no choice: `make tune EXPERIMENT=rnn SET="task=variable_echo length=20"` names it.
"""

from experiments.rnn import EXPERIMENT
from tuning.space import Space, choice, learning_rate_decay, numbers

SPACE = Space(
    EXPERIMENT,
    {
        "cell": choice("gru", "lstm", "rnn"),
        "initialisation": choice("orthogonal", "default"),
        "hidden_size": choice(32, 64, 128, 256),
        "num_layers": choice(1, 2),
        "batch_size": choice(32, 64, 128),
        "learning_rate": numbers(1e-3, 5e-2, log=True),
        **learning_rate_decay(),
        "gradient_clip_norm": numbers(0.05, 2.0, log=True),
        "dropout_rate": numbers(0.0, 0.5),
        "weight_decay": numbers(1e-5, 1.0, log=True),
    },
    metric="val/loss",
    maximise=False,
)
"""Chrono and identity initialisation mean nothing to some cells, and are not searched."""
