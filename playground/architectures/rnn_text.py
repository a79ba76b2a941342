"""Next character: write on, one probability at a time.

A network that has read a text gives a probability to each character that could come next. To write,
one of them is drawn, and read as if it had stood there. How much of a text is chance?

**Try:** set the temperature to 0, then to 2. Between them, find the one at which words still are
words; then change the seed, and see where the text first takes another way.
"""

import html

import streamlit as st
import torch

from experiments.rnn.figures import BLANK
from experiments.rnn_text import figures
from experiments.rnn_text.serving import MAX_SEED
from harness.figures.style import VERMILION
from playground.choice import choose
from playground.drawing import show

MAX_SHOWN = 300
"""Characters of the prompt that are shown before the continuation, the last ones."""

model = choose(
    "rnn_text",
    small={
        "hidden_size": 128,
        "num_epochs": 5,
        "learning_rate": 0.01,
        "dropout_rate": 0.0,
    },
    options={"cell": ["gru", "lstm", "mingru"]},
    seconds=20,
)
served = model.served
names = figures.names_of(served.vocabulary)


def append(text: str) -> None:
    """Let the prompt go on with a text."""
    st.session_state["prompt"] += text


write_column, next_column = st.columns([3, 2], gap="large")
with write_column:
    st.session_state.setdefault("prompt", "the function returns ")
    prompt = st.text_area("Prompt", key="prompt", height=80)
    if model.config.alphabet == "letters":
        prompt = prompt.lower()
    temperature = st.slider("Temperature", 0.0, 2.0, 0.8, 0.05)
    how_many, seed_column = st.columns(2)
    num_characters = how_many.slider("Characters to write", 20, 400, 200, 20)
    seed = seed_column.number_input("Seed", 0, MAX_SEED, 0)

continuation = model(
    {"text": prompt}, num_characters=num_characters, temperature=temperature, seed=seed
)["continuation"]
written = served.vocabulary.encode(continuation)
with torch.inference_mode():
    read = torch.cat([served.vocabulary.encode(prompt), written])
    logits, _ = served.network(read[None])
# Row k: of the character that follows k written ones. As the served model divides the logits.
following = logits[0, -len(written) - 1 :].double()
probabilities = (following / max(temperature, 1e-6)).softmax(-1)
chances = probabilities[:-1].gather(1, written[:, None])[:, 0]

with next_column:
    place = st.slider("Which character of the continuation?", 1, len(written), 1) - 1
    taken = int(written[place])
    show(figures.next_symbol(probabilities[place].numpy(), names, taken))
    st.caption(
        f"Vermilion: the one that was drawn, {names[taken]}. The temperature is part of this."
    )
    st.button(
        "Put it, and those before it, into the prompt",
        on_click=append,
        args=[continuation[: place + 1]],
    )
with write_column:
    marks = [""] * len(written)
    marks[place] = f";border-bottom:3px solid {VERMILION}"
    spans = [
        f'<span title="{chance:.3f}" style="background:rgba(0,114,178,{0.65 * chance:.2f}){mark}">'
        f"{html.escape(names[symbol].replace(BLANK, chr(32)))}</span>"
        for symbol, chance, mark in zip(written.tolist(), chances.tolist(), marks, strict=True)
    ]
    before = prompt if len(prompt) <= MAX_SHOWN else f"\N{HORIZONTAL ELLIPSIS}{prompt[-MAX_SHOWN:]}"
    st.html(
        '<p style="font-family:monospace;font-size:1.05rem;line-height:1.6;'
        'white-space:break-spaces;overflow-wrap:anywhere">'
        f"{html.escape(before)}{''.join(spans)}</p>"
    )
    st.caption(
        "The darker a character, the higher its probability (point at it to read it); underlined: "
        "the one that is chosen on the right. At this temperature, the network spent "
        f"{(1 / chances).log2().mean():.2f} bits on a character, on average."
    )
