"""Convolutional network: its shape, how it is trained, how strongly photographs are changed.

Trials sketch, on small photographs and for a shorter time, what the finals carry out in full: how
many pixels and epochs there are is a matter of the time one has, and not searched. They are judged
by the loss: between networks that answer 500 photographs about equally well, accuracy is a matter
of a few photographs, of which chance decides.
"""

from experiments.cnn import EXPERIMENT
from tuning.space import Space, choice, learning_rate_decay, numbers

SPACE = Space(
    EXPERIMENT,
    {
        "architecture": choice("residual", "plain", "separable"),
        "width": choice(16, 24, 32, 48),
        "depth": choice(1, 2),
        "optimizer": choice("muon", "adamw"),
        "batch_size": choice(32, 64),
        "learning_rate": numbers(1e-3, 1e-2, log=True),
        **learning_rate_decay(),
        "weight_decay": numbers(0.01, 0.3, log=True),
        "dropout_rate": numbers(0.0, 0.5),
        "label_smoothing": numbers(0.0, 0.15),
        "crop": numbers(0.3, 0.8),
        "stretch": numbers(0.0, 0.5),
        "rotation_degrees": numbers(0.0, 20.0),
        "colour": numbers(0.1, 0.6),
        "erasing_probability": numbers(0.0, 0.5),
        "mixup_alpha": choice(0.0, 0.2, 0.5),
        "cutmix_alpha": choice(0.0, 1.0),
    },
    metric="val/loss",
    maximise=False,
    sketch={"image_size": 64, "num_epochs": 40},
)
