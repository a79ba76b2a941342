"""What is recorded: short runs of every entry point, by the name of the case."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

Value = str | int | float | bool | tuple[str, ...]


@dataclass(frozen=True)
class Step:
    """One command of a case.

    In values, {tmp} is the recording's temporary folder, {run} the id of the case's first run,
    {name} the case's name, and {photo} the first of the synthetic photographs.
    """

    module: str
    """What `python -m` runs."""
    settings: Mapping[str, Value] = field(default_factory=dict)
    """Parameters and their values."""
    words: tuple[str, ...] = ()
    """Positional arguments, which come first."""
    keeps_output: bool = False
    """Record the standard output."""


MOE: Mapping[str, Value] = {
    "num_epochs": 2,
    "num_train": 200,
    "num_validation": 100,
    "num_test": 100,
    "num_experts": 2,
    "restarts": 2,
}
CNN: Mapping[str, Value] = {
    "data": "synthetic",
    "data_dir": "{tmp}/photographs",
    "image_size": 32,
    "width": 4,
    "num_epochs": 2,
    "batch_size": 100,
    "crop_max_aspect_ratio": 1.17,
}
RNN: Mapping[str, Value] = {
    "num_epochs": 2,
    "batch_size": 20,
    "hidden_size": 8,
    "num_train": 100,
    "num_validation": 40,
    "num_test": 40,
}
SEQ: Mapping[str, Value] = {"num_epochs": 2, "batch_size": 20}
WIDTH: Mapping[str, Value] = {"width": 8}
GENERATED: Mapping[str, Value] = {"num_train": 100, "num_validation": 40, "num_test": 60}
ORDER: Mapping[str, Value] = {"level": "easy", **GENERATED}


def moe(**settings: Value) -> Step:
    """Return a run of the mixture of experts."""
    return Step("experiments.moe", {**MOE, **settings})


def cnn(**settings: Value) -> Step:
    """Return a run of the convolutional network."""
    return Step("experiments.cnn", {**CNN, **settings})


def rnn(**settings: Value) -> Step:
    """Return a run of the recurrent network."""
    return Step("experiments.rnn", {**RNN, **settings})


def seq(**settings: Value) -> Step:
    """Return a run of sequence classification."""
    matched = {} if "match_parameters" in settings else WIDTH
    return Step("experiments.seq_classification", {**SEQ, **matched, **settings})


def predict(*inputs: str, **settings: Value) -> Step:
    """Return a question to the model of the case's first run."""
    words = ("runs:/{run}/model", *inputs)
    return Step("experiments.predict", {"json": True, **settings}, words, keeps_output=True)


CASES: Mapping[str, tuple[Step, ...]] = {
    # The longest one first: with two jobs, it does not run alone at the end.
    "tune": (
        Step(
            "tuning",
            {
                "trials": 4,
                "workers": 1,
                "finalists": 2,
                "final_seeds": 2,
                "storage": "{tmp}/optuna.journal",
                "study_name": "recorded",
                "set": (
                    "num_epochs=3",
                    "num_train=200",
                    "num_validation=100",
                    "num_test=100",
                    "restarts=2",
                ),
            },
            words=("moe",),
        ),
    ),
    "data": (
        Step(
            "experiments.data",
            {"data": "synthetic", "data_dir": "{tmp}/photographs", "image_size": 32},
            keeps_output=True,
        ),
    ),
    # Mixture of experts: routing, losses, data sets, learning-rate schedules.
    "moe": (moe(), predict("0.5,-1.2", "3,2")),
    "moe_seeds": (Step("experiments.moe", {"num_epochs": 3, "seeds": 2}),),
    "moe_logits_cosine": (moe(mixing="logits", lr_schedule="cosine", lr_warmup_fraction=0.2),),
    "moe_top_k_constant": (
        moe(
            data="circles",
            num_experts=4,
            top_k=2,
            routing_noise=0.5,
            bias_update_rate=0.01,
            balance_loss_weight=0.01,
            z_loss_weight=0.001,
            lr_schedule="constant",
        ),
    ),
    "moe_competitive_exponential": (
        moe(
            data="moons",
            mixing="logits",
            loss="competitive",
            lr_schedule="exponential",
            weight_decay=0.01,
        ),
    ),
    "moe_gate_hidden_step": (
        moe(
            data="spirals",
            gate_hidden=4,
            gate_temperature=5.0,
            lr_schedule="step",
            lr_decay_epochs=1,
        ),
    ),
    "moe_plateau": (
        moe(
            data="checkerboard",
            num_epochs=6,
            learning_rate=1.0,
            lr_schedule="plateau",
            lr_decay_epochs=1,
        ),
    ),
    "moe_plateau_warmup": (
        moe(
            num_epochs=6,
            learning_rate=1.0,
            lr_schedule="plateau",
            lr_decay_epochs=1,
            lr_warmup_fraction=0.3,
            ema_decay=0.5,
            animation=False,
        ),
    ),
    "moe_early_stopping": (
        moe(
            num_epochs=40,
            learning_rate=1.0,
            lr_schedule="constant",
            gradient_clip_norm=1.0,
            early_stopping_epochs=2,
        ),
    ),
    "moe_extended": (Step("experiments.moe_extended", {**MOE, "num_experts": 3}),),
    # Convolutional networks: architectures, optimisers, mixing of photographs.
    "cnn_residual_muon": (cnn(ema_decay=0.9), predict("{photo}")),
    "cnn_plain_sgd": (
        cnn(
            architecture="plain",
            optimizer="sgd",
            learning_rate=0.05,
            mixup_alpha=0.0,
            ema_decay=0.0,
            blur_sigma=1.0,
            depth=2,
        ),
    ),
    "cnn_separable_adamw": (
        cnn(
            architecture="separable",
            num_stages=3,
            optimizer="adamw",
            flip_test_time_augmentation=False,
        ),
    ),
    "cnn_mixup_cutmix": (
        cnn(architecture="plain", mixup_alpha=0.4, cutmix_alpha=1.0, label_smoothing=0.1),
    ),
    # Recurrent networks: tasks, cells, initialisations.
    "rnn_echo_gru_orthogonal": (rnn(), predict("hello world")),
    "rnn_echo_fixed_mingru_default": (
        rnn(
            resample_each_epoch=False,
            cell="mingru",
            initialisation="default",
            optimizer="sgd",
            num_layers=2,
            embedding_size=4,
            dropout_rate=0.2,
            min_length=10,
        ),
    ),
    "rnn_variable_echo_rnn_identity": (
        rnn(task="variable_echo", cell="rnn", initialisation="identity", optimizer="muon"),
    ),
    "rnn_copy_lstm_chrono": (
        rnn(task="copy", cell="lstm", initialisation="chrono", blank_length=20, num_epochs=3),
    ),
    "rnn_text": (
        Step(
            "experiments.rnn_text",
            {
                "num_epochs": 2,
                "batch_size": 20,
                "hidden_size": 8,
                "text": "{tmp}/text.txt",
                "embedding_size": 4,
                "length": 32,
            },
        ),
    ),
    "rnn_cells": (Step("experiments.rnn_cells", {**RNN, "seeds_of_each": 2}),),
    # Sequence classification: tasks, encoders, poolings.
    "seq_order_2_gru_last": (seq(**ORDER, pooling="last"), predict("BacXbdcYaE")),
    # Long enough to solve the task, so that the sequences that took are recorded, too.
    "seq_order_2_solved": (
        Step("experiments.seq_classification", {"level": "easy", "num_epochs": 6, "num_test": 60}),
    ),
    "seq_order_3_lstm_mean": (
        seq(**ORDER, num_marks=3, encoder="lstm", pooling="mean", num_layers=2),
    ),
    "seq_adding_rnn_max": (
        seq(**GENERATED, task="adding", length=20, encoder="rnn", pooling="max", optimizer="muon"),
    ),
    "seq_digits_rows_mingru_attention": (
        seq(task="digits", encoder="mingru", pooling="attention", distortion=0.7),
    ),
    "seq_digits_pixels_tcn": (
        seq(
            task="digits",
            order="pixels",
            shuffled=True,
            encoder="tcn",
            pooling="max",
            num_layers=2,
            match_parameters=500,
            num_epochs=1,
        ),
    ),
    "seq_japanese_vowels_fcn": (
        seq(
            task="japanese_vowels",
            encoder="fcn",
            pooling="mean",
            num_layers=3,
            dropout_rate=0.3,
            noise=0.3,
            offset=0.5,
            optimizer="sgd",
            ema_decay=0.9,
        ),
    ),
    "seq_csv_transformer": (
        seq(data="{tmp}/sequences.csv", encoder="transformer", pooling="attention"),
    ),
    "seq_encoders": (
        Step(
            "experiments.seq_encoders",
            {**SEQ, **ORDER, "match_parameters": 600, "seeds_of_each": 2},
        ),
    ),
    # Every architecture, compared; and the comparison as a command of its own.
    "main": (
        Step("experiments.main", {"only": ("moe", "rnn", "seq_classification"), "num_epochs": 1}),
        Step("experiments.compare", {"experiment": "{name}", "group_by": "architecture"}),
    ),
}

VOCABULARY = (
    "the a one some every old new small great river stone garden letter winter summer morning "
    "window captain sister teacher horse bird ship road house light shadow word song carries finds "
    "leaves follows remembers watches opens closes answers under over beside before after and but "
    "while slowly often never again"
)


def write_inputs(folder: Path) -> None:
    """Write the text and the labelled sequences that cases read."""
    numbers, words = random.Random(0), VOCABULARY.split()
    text: list[str] = []
    while sum(map(len, text)) < 20_000:
        text.append(" ".join(numbers.choices(words, k=numbers.randint(5, 12))) + ".\n")
    (folder / "text.txt").write_text("".join(text))
    rows = []
    for _ in range(120):
        symbols = "".join(numbers.choices("abcd", k=numbers.randint(4, 12)))
        label = "rising" if symbols[0] < symbols[-1] else "other"
        rows.append(f"{label},{symbols}\n")
    (folder / "sequences.csv").write_text("".join(rows))
