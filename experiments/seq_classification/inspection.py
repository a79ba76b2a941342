"""What a network computes while it reads one sequence, step by step."""

import torch

from datasets.sequence_tasks import LabelledSequences
from experiments.seq_classification.figures import Inspection
from experiments.seq_classification.tasks import SequenceData, Task
from models.inspection.sequential import gradient_times_input, lstm_cell_states
from models.sequence_classifier import SequenceClassifier

MAX_PREFIXES = 120
"""Prefixes of a sequence for which outputs are computed."""


def inspect(
    model: SequenceClassifier,
    task: Task,
    data: SequenceData,
    sequences: LabelledSequences,
    index: int,
) -> Inspection:
    """Return features, predictions and contributions at each step of one of the sequences."""
    inputs, lengths, labels = (part[index : index + 1] for part in sequences)
    length = int(lengths)
    inputs = inputs[:, :length]  # (1, T) or (1, T, C)
    steps = torch.linspace(1, length, min(length, MAX_PREFIXES)).round().long()
    with torch.inference_mode():
        features = model.encode(inputs, lengths)  # (1, T, F)
        outputs = torch.cat([model(inputs[:, :step], step.view(1)) for step in steps])
        attention = None
        if model.pool.score is not None:
            attention = model.pool.weights(features, lengths)[0].numpy()
        cells = lstm_cell_states(model, inputs)
    contributions = gradient_times_input(model, inputs, lengths, labels)
    return Inspection(
        title=task.title(labels[0], data),
        text=tuple(data.symbols[i] for i in inputs[0]) if data.symbols else (),
        features=features[0].numpy(),
        cells=None if cells is None else cells.numpy(),
        steps=steps.numpy(),
        predictions=task.predict(outputs).numpy(),
        contributions=contributions[0].numpy(),
        attention=attention,
        series=None if data.symbols else model.to_channels(inputs)[0].numpy(),
    )
