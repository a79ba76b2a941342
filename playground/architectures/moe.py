"""Mixture of experts: find out who decides where.

One straight line cannot separate the inside of a circle from its outside. Several can, if a gate
says which of them counts where. How do gate and experts divide the plane between them?

**Try:** drag the epoch from the first to the last. Then switch to hard routing: the curve breaks
into straight segments, the experts' lines and the borders of their regions. Click where two
segments meet, and see how far the experts disagree.
"""

from typing import Any, get_args

import altair as alt
import numpy as np
import pandas as pd
import streamlit as st
import torch
from contourpy import contour_generator

from datasets.choices import DatasetName
from datasets.toy_datasets import toy_dataset
from experiments.moe import figures
from experiments.moe.figures import Plane, Scene
from experiments.moe.lesson import EXPERIMENT
from harness.figures import style
from models.moe import Mixture, MixtureOfExperts
from playground.choice import ChosenModel, choose
from playground.drawing import show

SOFT, HARD = "soft: all experts, weighted by the gate", "hard: the most probable expert alone"
RESOLUTION, SIDE_PIXELS = 71, 350
"""Cells and pixels along each side of the plane."""
NUM_DOTS = 200


@st.cache_resource(max_entries=10, show_spinner=False)
def mixtures_of(_model: ChosenModel, key: int) -> dict[int, MixtureOfExperts]:
    """Return the mixture after each epoch that was kept, the final one last."""
    data, history = EXPERIMENT.load_data(_model.config), _model.history
    earlier = EXPERIMENT.mixtures_by_epoch(_model.config, data, history)
    final: MixtureOfExperts = _model.served.mixture
    return {**earlier, history.best_epoch: final}


@st.cache_resource(max_entries=10, show_spinner=False)
def scene_of(data: str, seed: int) -> Scene:
    """Return the part of the plane that is drawn, its true regions, and test points."""
    dataset = toy_dataset(data)
    points, labels = (part.numpy() for part in dataset.generate(5_000, seed, "test"))
    plane = Plane.around(points, RESOLUTION)
    truth = dataset.label(torch.from_numpy(plane.finer().points)).numpy()
    return Scene(plane, truth, points, labels)


def boundary(plane: Plane, class_one: np.ndarray) -> pd.DataFrame:
    """Return the lines along which P(class 1) of `plane.points` is a half, point by point."""
    paths: Any = contour_generator(plane.x, plane.y, plane.image(class_one)).lines(0.5)
    rows = [(x, y, i, step) for i, path in enumerate(paths) for step, (x, y) in enumerate(path)]
    return pd.DataFrame(rows, columns=["x", "y", "line", "step"])


def surface(scene: Scene, probability: np.ndarray, point: tuple[float, float]) -> Any:
    """Draw P(class 1) of `plane.points` as cells to be clicked, and the point that was chosen."""
    left, right, bottom, top = map(float, scene.plane.extent)
    half = 0.55 * (right - left) / (RESOLUTION - 1)  # neighbours overlap, so that no gap shows
    cells = pd.DataFrame(scene.plane.points, columns=["x", "y"]).assign(
        probability=probability,
        left=lambda cell: cell.x - half,
        right=lambda cell: cell.x + half,
        bottom=lambda cell: cell.y - half,
        top=lambda cell: cell.y + half,
    )
    dots = pd.DataFrame(scene.points[:NUM_DOTS], columns=["x", "y"])
    dots["label"] = scene.labels[:NUM_DOTS].astype(int)
    x_scale = alt.Scale(domain=[left, right], nice=False)
    y_scale = alt.Scale(domain=[bottom, top], nice=False)
    x, y = alt.X("x:Q", scale=x_scale, title="x"), alt.Y("y:Q", scale=y_scale, title="y")
    colours = alt.Scale(
        domain=[0, 0.5, 1], range=[style.BLUE, "#FFFFFF", style.ORANGE], interpolate="rgb"
    )
    layers: list[Any] = [
        alt.Chart(cells)
        .mark_rect(clip=True)
        .encode(
            alt.X("left:Q", scale=x_scale, title="x"),
            alt.Y("bottom:Q", scale=y_scale, title="y"),
            x2="right:Q",
            y2="top:Q",
            color=alt.Color("probability:Q", scale=colours, legend=None),
            tooltip=[alt.Tooltip(name, format=".2f") for name in ("x", "y", "probability")],
        )
        .add_params(alt.selection_point("clicked", fields=["x", "y"], toggle=False))
    ]
    layers += [
        alt.Chart(lines)
        .mark_line(color=colour, strokeWidth=width, strokeDash=dash, clip=True)
        .encode(x, y, detail="line:N", order="step:Q")
        for lines, colour, width, dash in (
            (boundary(scene.plane.finer(), scene.truth), "black", 1.6, [6, 4]),
            (boundary(scene.plane, probability), style.VERMILION, 2.6, [1, 0]),
        )
        if len(lines)
    ]
    kinds = alt.Scale(domain=[0, 1], range=list(style.CLASSES))
    shapes = alt.Scale(domain=[0, 1], range=["circle", "square"])
    layers += [
        alt.Chart(dots)
        .mark_point(filled=True, size=24, stroke="black", strokeWidth=0.4, clip=True)
        .encode(
            x,
            y,
            fill=alt.Fill("label:N", scale=kinds, legend=None),
            shape=alt.Shape("label:N", scale=shapes, legend=None),
        ),
        alt.Chart(pd.DataFrame([point], columns=["x", "y"]))
        .mark_point(shape="cross", size=250, filled=True, color="black", stroke="white", clip=True)
        .encode(x, y),
    ]
    chart: Any = alt.layer(*layers)
    return chart.properties(width=SIDE_PIXELS, height=SIDE_PIXELS, autosize="pad")


def take_click() -> None:
    """Let the point be the cell that was clicked."""
    for cell in st.session_state["surface"].selection.get("clicked", []):
        st.session_state["x"], st.session_state["y"] = round(cell["x"], 2), round(cell["y"], 2)


def probability_of(mixture: Mixture) -> np.ndarray:
    """Return P(class 1) of each point under the routing that was chosen."""
    logits = mixture.top1_logits if routing == HARD else mixture.combine(config.mixing)
    return logits.sigmoid().numpy()


model = choose(
    "moe",
    small={"num_epochs": 12, "num_train": 10_000},
    options={"num_experts": [3, 2, 4, 6, 8], "data": get_args(DatasetName)},
    seconds=5,
    fits=lambda parameters: parameters["data"] in get_args(DatasetName),
)
config = model.config
mixtures, scene = mixtures_of(model, id(model)), scene_of(config.data, config.seed)

plane_column, point_column = st.columns(2, gap="medium")
with plane_column:
    epoch = max(mixtures)
    if len(mixtures) > 1:
        epoch = st.select_slider("After epoch", list(mixtures), value=epoch)
    routing = st.radio("Routing", [SOFT, HARD])
with point_column:
    for name in ("x", "y"):
        st.session_state.setdefault(name, 1.0)
    x_column, y_column = st.columns(2)
    point = (
        x_column.number_input("x of the point (or click)", step=0.1, key="x"),
        y_column.number_input("y of the point", step=0.1, key="y"),
    )

with torch.inference_mode():
    over_plane, at_point, at_test_points = (
        mixtures[epoch].mix(torch.as_tensor(np.asarray(points, np.float32)))
        for points in (scene.plane.points, [point], scene.points)
    )
probability = probability_of(over_plane)
left, right, bottom, top = scene.plane.extent
is_correct = (probability_of(at_test_points) > 0.5) == (scene.labels > 0.5)
with plane_column:
    st.altair_chart(
        surface(scene, probability, point),
        key="surface",
        on_select=take_click,
        width="content",
        theme=None,
        alt="Map of P(class 1), with the learned and the true boundary",
    )
    st.caption(
        f"P(class 1) from 0, blue, to 1, orange; accuracy {is_correct.mean():.3f} on "
        f"{len(is_correct):,} test points. Vermilion: the learned boundary; dashed: the true one."
    )

gate, experts = at_point.weights[:, 0].numpy(), at_point.expert_logits[:, 0].sigmoid().numpy()
(mixed,) = probability_of(at_point)
with point_column:
    if not (left <= point[0] <= right and bottom <= point[1] <= top):
        st.info("This point lies outside the picture.")
    most = gate.argmax()
    st.markdown(
        f"The model says **class {int(mixed > 0.5)}**, with P(class 1) = **{mixed:.3f}**. "
        f"Expert {most + 1} counts most, with a gate probability of {gate[most]:.2f}; alone, it "
        f"says P(class 1) = {experts[most]:.3f}."
    )
    show(figures.decision(gate, experts, float(mixed), point))
gates, logits = over_plane.weights.T.numpy(), over_plane.expert_logits.T.numpy()
hard_accuracy = ((at_test_points.top1_logits.numpy() > 0) == (scene.labels > 0.5)).mean()
views = ["experts and their regions", "gate"]
if st.segmented_control("Show", views, default=views[0], required=True) == "gate":
    show(figures.gate(scene, gates))
else:
    show(figures.experts(scene, gates, logits, hard_accuracy), pixels=640)
