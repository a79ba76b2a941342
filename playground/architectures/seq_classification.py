"""Sequence classification: watch a class take shape.

In a sequence like BaXbcYdE, the order of the marks X and Y is the class, and all else distracts.
The network reads from left to right and answers at the end. When does it know?

**Try:** replace the first mark by the other one, then remove the second. Follow how the
probabilities turn at the marks; and see whether a mark is forgotten if you write fifty more letters
behind it (most often it is not).
"""

import streamlit as st
import torch

from datasets.sequence_tasks import LabelledSequences
from experiments.seq_classification import figures
from experiments.seq_classification.inference import raw_row
from experiments.seq_classification.inspection import inspect
from experiments.seq_classification.lesson import EXPERIMENT
from experiments.seq_classification.tasks import TASKS, SequenceData
from harness.wording import plural
from models.sequence_classifier import SequenceClassifier
from playground.choice import ChosenModel, choose
from playground.drawing import show


@st.cache_resource(max_entries=10, show_spinner="Building the network")
def network_of(_model: ChosenModel, key: int) -> tuple[SequenceClassifier, SequenceData]:
    """Return the network as it was before it was exported, and the data of its training."""
    data = EXPERIMENT.load_data(_model.config)
    return EXPERIMENT.restore_model(_model.config, data, _model.served.weights), data


def take_example() -> None:
    """Let the text be the validation sequence of the class that was chosen."""
    st.session_state["sequence"] = examples[st.session_state["example"]]


model = choose(
    "seq_classification",
    small={"level": "normal", "num_epochs": 12},
    options={"encoder": ["gru", "lstm", "rnn", "transformer"], "num_marks": [2, 3]},
    seconds=5,
    fits=lambda parameters: bool(parameters.get("data")) or parameters["task"] == "temporal_order",
)
symbols = model.served.metadata["symbols"]
if not symbols:
    st.warning("This model reads series of numbers, which cannot be typed: choose another.")
    st.stop()
network, data = network_of(model, id(model))
task = TASKS[model.config.source]
examples = {
    data.classes[int(data.validation.labels[index])]: raw_row(
        data, data.validation.inputs[index, : data.validation.lengths[index]]
    )["sequence"]
    for index in task.examples(data.validation)
}
st.session_state.setdefault("sequence", next(iter(examples.values())))
example_column, text_column = st.columns([1, 4])
example_column.selectbox(
    "An example of class", list(examples), key="example", on_change=take_example
)
text: str = text_column.text_input("Sequence (edit it)", key="sequence", live=True)
st.caption(f"Symbols: {' '.join(symbols)}; {plural(len(text), 'character')}.")
if not text:
    st.info("Type a sequence, or choose an example.")
    st.stop()

answer = model({"sequence": text})
label = torch.tensor([data.classes.index(answer["class"])])
inputs = model.served.read({"sequence": text})[None]
sequences = LabelledSequences(inputs, torch.tensor([inputs.shape[1]]), label)
inspection = inspect(network, task, data, sequences, 0)
st.markdown(
    f"After the last step: **class {answer['class']}**, with a probability of "
    f"**{answer['probability']:.3f}**."
)
show(figures.prediction_by_step([inspection], data.classes, kind="predicted"))
views = ["features at each step", "contribution of each step"]
if st.segmented_control("Show", views, default=views[0], required=True) == views[0]:
    show(figures.states([inspection]))
else:
    show(figures.importance([inspection]))
