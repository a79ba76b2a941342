"""Names of the kinds of models: what a configuration chooses among.

This module imports only `typing`, so that a configuration can be read without loading torch.

A recurrent cell is added by its name in `CellName`, its initialisations in
`CELLS_FOR_INITIALISATION` and its constructor in `CELL_CONSTRUCTORS` of models/recurrent.py; it is
then an encoder, too. Another encoder is added by its name in `EncoderName` and its constructor in
`ENCODER_CONSTRUCTORS` of models/sequence_encoders.py.
"""

from typing import Literal, get_args

CellName = Literal["rnn", "lstm", "gru", "mingru", "minlstm", "lru", "s6"]
Initialisation = Literal["default", "orthogonal", "identity", "chrono"]
NGRAM_LENGTHS = (2, 3, 4, 5, 6, 8, 11, 16)
"""Symbols of the n-grams that a recurrent network can have."""
EncoderName = Literal[
    CellName,
    "tcn",
    "fcn",
    "inception",
    "transformer",
    "causal_transformer",
    "hydra",
    "multirocket_hydra",
]
PoolingName = Literal["last", "mean", "max", "attention"]
Mixing = Literal["logits", "probabilities"]
"""What the gate of a mixture of experts averages: the experts' logits or their probabilities."""
GateName = Literal["softmax", "hierarchical"]
"""How the gate divides the points: among all experts at once, or in two, level by level."""
BalanceLoss = Literal["switch", "importance_and_load"]
"""What evens out the load of the experts (see `models.moe`)."""
Routing = Literal["top_k", "noisy_top_k", "expert_choice"]
"""How points and experts find each other (see `models.moe.GatingNetwork`)."""
Backbone = Literal[
    "efficientnet_lite0",
    "efficientnet_lite1",
    "efficientnet_lite2",
    "mobilenet_v3_small",
    "resnet18",
    "efficientnet_b0",
]
"""Convolutional networks with weights pretrained on ImageNet."""

IMAGE_SIZES: dict[Backbone, int] = {
    **dict.fromkeys(get_args(Backbone), 224),
    "efficientnet_lite1": 240,
    "efficientnet_lite2": 260,
}
"""Width and height, in pixels, of the photographs that each backbone was made for."""

CELLS: tuple[CellName, ...] = get_args(CellName)
ENCODERS: tuple[EncoderName, ...] = get_args(EncoderName)
TRANSFORMERS: tuple[EncoderName, ...] = ("transformer", "causal_transformer")
"""Encoders with positions, which reach only so far, and attention in four heads."""

WIDTH_STEPS: dict[EncoderName, int] = {
    **dict.fromkeys(TRANSFORMERS, 4),
    "inception": 4,
    "hydra": 4,
    "multirocket_hydra": 8,
}
"""What the width of these encoders is a multiple of: heads, branches, groups of kernels."""

UNTRAINED: tuple[EncoderName, ...] = ("hydra", "multirocket_hydra")
"""Encoders whose weights stay as they were drawn: only what follows them is trained."""

SCANNED: tuple[CellName, ...] = ("mingru", "minlstm", "lru", "s6")
"""Cells whose gates do not see the state, so that all steps are computed at once.

Only a second layer has gates that depend on steps before the present one.
"""

CELLS_FOR_INITIALISATION: dict[Initialisation, tuple[CellName, ...]] = {
    "default": CELLS,
    "orthogonal": ("rnn", "lstm", "gru"),
    "identity": ("rnn",),
    "chrono": ("lstm", "gru", *SCANNED),
}
"""The cells that each initialisation is defined for (see `models.recurrent.initialise`)."""


def is_recurrent(encoder: EncoderName) -> bool:
    """Return whether an encoder is recurrent, so that there are several initialisations for it."""
    return encoder in CELLS


def suits(encoder: EncoderName, initialisation: Initialisation) -> bool:
    """Return whether an initialisation is defined for an encoder."""
    if is_recurrent(encoder):
        return encoder in CELLS_FOR_INITIALISATION[initialisation]
    return initialisation == "default"


def default_initialisation(encoder: EncoderName) -> Initialisation:
    """Return the initialisation with which an untrained encoder keeps information longest."""
    if suits(encoder, "chrono"):
        return "chrono"
    return "orthogonal" if suits(encoder, "orthogonal") else "default"
