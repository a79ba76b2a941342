"""Sequence classifier: what reads, what becomes of the steps, how large, how it is trained.

The task is no choice: `make tune EXPERIMENT=seq_classification SET="num_marks=3"` names it.
"""

from experiments.seq_classification import EXPERIMENT
from tuning.space import Space, choice, learning_rate_decay, numbers

SPACE = Space(
    EXPERIMENT,
    {
        "encoder": choice("gru", "lstm", "mingru", "tcn", "fcn", "transformer"),
        "pooling": choice("last", "mean", "max", "attention"),
        "width": choice(8, 16, 32, 64),
        "num_layers": choice(1, 2, 4),
        "batch_size": choice(10, 20, 50),
        "learning_rate": numbers(1e-3, 2e-1, log=True),
        **learning_rate_decay(),
        "gradient_clip_norm": numbers(0.05, 5.0, log=True),
        "dropout_rate": numbers(0.0, 0.5),
        "weight_decay": numbers(1e-5, 0.1, log=True),
    },
    metric="val/loss",
    maximise=False,
)
"""Each encoder starts as suits it: most initialisations mean nothing to some of them."""
