"""Convolutional network: see what it looks at.

A network that tells cats from dogs gives a class and a probability. Which part of the photograph
are they based on, and what is left of it from stage to stage?

**Try:** choose a cat and a dog, and compare where the evidence lies. Then drop a photograph of your
own, or one without an animal: the network has to answer, and cannot say that it does not know.
"""

import io

import numpy as np
import streamlit as st
import torch

from datasets.augmentation import to_float
from datasets.synthetic_photographs import Animal, draw
from experiments.cnn import figures
from experiments.cnn.inference import explain, restore_network
from experiments.cnn.serving import read_photograph
from models.cnn import ImageClassifier
from models.inspection.convolutional import activations
from playground.choice import ChosenModel, choose
from playground.drawing import show

SAMPLES: dict[str, tuple[Animal, int]] = {
    "cat 1": ("cat", 4), "cat 2": ("cat", 5), "cat 3": ("cat", 6),
    "dog 1": ("dog", 4), "dog 2": ("dog", 5), "dog 3": ("dog", 6),
}  # fmt: skip
"""Drawings, each by its kind and seed: the same seed gives a cat and a dog in the same pose."""


@st.cache_data
def sample(name: str) -> bytes:
    """Return the file of a drawn photograph."""
    animal, seed = SAMPLES[name]
    file = io.BytesIO()
    draw(animal, np.random.default_rng(seed), size=200).save(file, "PNG")
    return file.getvalue()


@st.cache_resource(max_entries=10, show_spinner=False)
def network_of(_model: ChosenModel, key: int) -> ImageClassifier:
    """Return the network as it was before it was exported."""
    return restore_network(_model.served)


model = choose(
    "cnn",
    small={
        "data": "synthetic",
        "image_size": 80,
        "width": 16,
        "num_stages": 3,
        "num_epochs": 14,
        "mixup_alpha": 0.0,
        "dropout_rate": 0.0,
    },
    options={"architecture": ["residual", "plain"]},
    seconds=20,
)
network, classes = network_of(model, id(model)), model.served.metadata["classes"]

input_column, answer_column = st.columns(2, gap="large")
with input_column:
    dropped = st.file_uploader(
        "Drop a photograph here", ["jpg", "jpeg", "png", "webp", "gif", "bmp"]
    )
    name = st.pills(
        "or take a drawn one",
        list(SAMPLES),
        default="cat 1",
        required=True,
        disabled=dropped is not None,
    )
content = dropped.getvalue() if dropped else sample(name)
answer = model({"image": content})
with answer_column:
    st.markdown(
        f"The network says **{answer['class']}**, with a probability of "
        f"**{answer['probability']:.3f}**."
    )
    st.image(content, width=240)

photo = read_photograph(content, model.served.metadata)
probabilities = np.array([answer["probabilities"][each] for each in classes])
show(figures.explained(photo, explain(network, photo, len(classes)), probabilities, classes))
st.caption(
    "Bright where the evidence for a class lies: it is as coarse as the last stage, and drawn over "
    "the photograph at the size at which the network sees it."
)
image = to_float(torch.from_numpy(photo).permute(2, 0, 1).unsqueeze(0))
stages = activations(network, image, dict(network.stages.named_children()))
show(figures.activations(photo, [(stage, maps[0].numpy()) for stage, maps in stages.items()]))
