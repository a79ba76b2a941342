"""Recurrent memory: lengthen the delay until it breaks.

A recurrent network reads letter after letter, and repeats what it read some steps ago. All that it
remembers is a few dozen numbers, its hidden units. How many letters find room in them?

**Try:** raise the delay step by step until the first echoes are wrong. Then type the same letter
ten times: which hidden units change, and which do not?
"""

import numpy as np
import streamlit as st
import torch

from datasets.characters import Vocabulary
from datasets.memory_tasks import Echo, echo
from experiments.rnn import figures
from experiments.rnn.lesson import EXPERIMENT
from experiments.rnn.network import VISIBLE, hidden_units
from experiments.rnn.predictions import predict
from harness.plural import plural
from models.recurrent import RecurrentNetwork
from playground.choice import ChosenModel, choose
from playground.drawing import show

LENGTH, NUM_SEQUENCES = 25, 100
"""Letters of the sequences, and how many there are for each delay, that accuracy is measured on."""


@st.cache_resource(max_entries=10, show_spinner=False)
def network_of(_model: ChosenModel, key: int) -> RecurrentNetwork:
    """Return the network as it was before it was exported."""
    network: RecurrentNetwork = EXPERIMENT.restore_model(_model.config, None, _model.served.weights)
    return network


@st.cache_data(max_entries=10, show_spinner="Measuring the accuracy of each delay")
def by_delay(_network: RecurrentNetwork, key: int, longest: int) -> tuple[list[int], list[int]]:
    """Return how many echoes were correct, and how many there were, for each delay from 0 on."""
    counts = []
    for delay in range(longest + 1):
        task = Echo(delay, delay, LENGTH, LENGTH)
        predicted = predict(_network, task.generate(NUM_SEQUENCES, seed=0, split="test"))
        counts.append((int(predicted.correct.sum()), int(predicted.sequences.mask.sum())))
    correct, scored = zip(*counts, strict=True)
    return list(correct), list(scored)


model = choose(
    "rnn",
    small={"task": "variable_echo", "num_epochs": 10, "num_validation": 200},
    options={"max_delay": [12, 8, 4], "cell": ["gru", "lstm", "rnn", "mingru"]},
    seconds=12,
    fits=lambda parameters: parameters["task"] in ("echo", "variable_echo"),
    comes_first=lambda parameters: parameters["task"] == "variable_echo",
)
config, network = model.config, network_of(model, id(model))
varies = config.task == "variable_echo"

text_column, delay_column = st.columns([3, 2], gap="medium")
with text_column:
    typed = st.text_input(
        "Type letters (up to 60)",
        "the quick brown fox jumps",
        max_chars=60,
        live=True,
        key="letters",
    ).lower()
with delay_column:
    if varies:
        delay = st.slider("Delay (steps)", 0, config.max_delay, min(3, config.max_delay))
    else:
        delay = config.delay
        st.info(
            f"This network was trained to echo after {plural(delay, 'step')}, and knows no other "
            "delay. To lengthen the delay, open *Train a small one here* on the left."
        )
if not typed:
    st.info("Type at least one letter.")
    st.stop()
echoed = model({"text": typed, "delay": float(delay)})["echo"]

symbols, delays = Vocabulary().encode(typed)[None], torch.tensor([delay])
target = VISIBLE.decode(echo(symbols, delays)[0])
read, said = (text.replace(" ", figures.BLANK) for text in (typed, echoed))
pairs = [(a, b) for a, b in zip(target, said, strict=True) if a != figures.BLANK]
num_correct = sum(a == b for a, b in pairs)
if pairs:
    st.markdown(f"**{num_correct} of {len(pairs)}** letters are echoed correctly.")
else:
    st.info(f"No echo is due yet: type more than {plural(delay, 'letter')}.")
show(figures.predictions([(read, target, said)]))

longest = config.max_delay if varies else 2 * config.delay + 2
correct, scored = by_delay(network, id(network), longest)
show(figures.accuracy_by_delay(np.array(correct), np.array(scored), marked=delay))
st.caption(
    f"Each bar is of {NUM_SEQUENCES} random sequences of {LENGTH} letters; vermilion: the delay "
    "above. A guess would be right once in 26."
)
hidden = hidden_units(network, symbols, delays if varies else None, names=VISIBLE.symbols)
show(figures.memory(*hidden, scored=[letter != figures.BLANK for letter in target]))
