"""What is worth tuning in a convolutional network: its shape, its training, the augmentation.

Trials train on small photographs for a short time, the finals at full size: more pixels and epochs
cost time and help always, so they are not searched. Trials are compared by their loss: between
networks of about the same accuracy, that of 500 photographs is a matter of chance.
"""

from harness.search_space import Range, SearchSpace, choice, learning_rate_decay

SPACE = SearchSpace(
    {
        "architecture": choice("residual", "plain", "separable"),
        "width": choice(16, 24, 32, 48),
        "depth": choice(1, 2),
        "optimizer": choice("muon", "adamw"),
        "batch_size": choice(32, 64),
        "learning_rate": Range(1e-3, 1e-2, log=True),
        **learning_rate_decay(),
        "weight_decay": Range(0.01, 0.3, log=True),
        "dropout_rate": Range(0.0, 0.5),
        "label_smoothing": Range(0.0, 0.15),
        "crop_min_area": Range(0.1, 0.7),
        "crop_max_aspect_ratio": Range(1.0, 1.65),
        "rotation_degrees": Range(0.0, 30.0),
        "color_jitter": Range(0.1, 0.6),
        "erasing_probability": Range(0.0, 0.5),
        "mixup_alpha": choice(0.0, 0.2, 0.5),
        "cutmix_alpha": choice(0.0, 1.0),
    },
    metric="val/loss",
    maximise=False,
    low_fidelity={"image_size": 64, "num_epochs": 40},
)
