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
from datasets.choices import SELECTIVE_TASKS
from datasets.memory_tasks import Echo, echo
from datasets.selective_tasks import selective_task
from experiments.rnn import figures
from experiments.rnn.lesson import EXPERIMENT
from experiments.rnn.network import VISIBLE, hidden_units
from experiments.rnn.predictions import predict
from harness.wording import plural
from models.recurrent import RecurrentNetwork
from playground.choice import ChosenModel, choose
from playground.drawing import show

MAX_EXAMPLE = 40
"""Steps of the text that a network is asked about at first, where its task needs no more."""
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


def recall(model: ChosenModel, network: RecurrentNetwork) -> None:
    """Show what is recalled of a text, by a network that was trained on a selective task."""
    config = model.config
    length = min(config.sequence_length, max(MAX_EXAMPLE, 3 * config.num_items))
    task = selective_task(config.task, length, config.num_items)
    example = Vocabulary().decode(task.generate(1, config.seed, "test").inputs[0])
    st.caption(
        f"It can be asked about {task.accepted}. Longer texts than in training may be tried."
    )
    typed = st.text_input("Edit the text", example, live=True, key=f"text for {config.task}")
    recalled = model({"text": typed})["echo"]
    symbols = Vocabulary().encode(typed)[None]
    target = VISIBLE.decode(task.answers(symbols)[0])
    read, said = (text.replace(" ", figures.BLANK) for text in (typed, recalled))
    asked = [(a, b) for a, b in zip(target, said, strict=True) if a != figures.BLANK]
    st.markdown(f"**{sum(a == b for a, b in asked)} of {len(asked)}** answers are correct.")
    show(figures.predictions([(read, target, said)]))
    hidden = hidden_units(network, symbols, names=VISIBLE.symbols)
    scored = np.array([letter != figures.BLANK for letter in target])
    show(figures.memory(*hidden, scored=scored.tolist()))
    show(figures.writing(hidden[0], task.to_remember(symbols)[0].numpy(), scored))


model = choose(
    "rnn",
    small={"task": "variable_echo", "num_epochs": 10, "num_validation": 200},
    options={"max_delay": [12, 8, 4], "cell": ["gru", "lstm", "rnn", "mingru"]},
    seconds=12,
    fits=lambda parameters: parameters["task"] != "copy",
    comes_first=lambda parameters: parameters["task"] == "variable_echo",
)
config, network = model.config, network_of(model, id(model))
if config.task in SELECTIVE_TASKS:
    recall(model, network)
    st.stop()
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
chances = np.array([Echo(d, d, LENGTH, LENGTH).chance_accuracy for d in range(longest + 1)])
show(figures.accuracy_by_delay(np.array(correct), np.array(scored), chances, marked=delay))
st.caption(
    f"Each bar is of {NUM_SEQUENCES} random sequences of {LENGTH} letters; vermilion: the delay "
    "above."
)
hidden = hidden_units(network, symbols, delays if varies else None, names=VISIBLE.symbols)
show(figures.memory(*hidden, scored=[letter != figures.BLANK for letter in target]))
