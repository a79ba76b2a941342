"""Pictures of the mixture: named axes and titles for any number of experts, in the pane's width."""

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from experiments.moe import figures
from harness.training.history import History
from tests.harness.figures.layout import drawn

RANDOM = np.random.default_rng(0)


@pytest.fixture
def scene() -> figures.Scene:
    points = RANDOM.normal(size=(300, 2)).astype(np.float32)
    plane = figures.Plane.around(points, resolution=21)
    truth = (np.hypot(*plane.finer().points.T) < 1).astype(np.float32)
    return figures.Scene(plane, truth, points, (np.hypot(*points.T) < 1).astype(np.float32))


def pictures(scene: figures.Scene, num_experts: int) -> dict[str, Figure]:
    count = len(scene.plane.points)
    gate = RANDOM.dirichlet(np.ones(num_experts), size=count)
    logits = RANDOM.normal(size=(count, num_experts))
    epochs = np.linspace(1, 0.1, 6)
    names = [f"{split}/{name}" for split in ("train", "val") for name in ("loss", "accuracy")]
    raw = [
        {name: torch.full((4,), value) for name in (*names, "val/gate_entropy")}
        | {"val/expert_share": torch.from_numpy(RANDOM.dirichlet(np.ones(num_experts), size=4))}
        for value in epochs
    ]
    history = History([{"learning_rate": value} for value in epochs], raw, best_epoch=6)
    labels = RANDOM.integers(2, size=count)
    kinds = ("linear gate", "gate with a hidden layer", "linear gate, EM")
    by_gate = {
        f"{kind}{end}": {1: 0.7, 2: 0.95} for kind in kinds for end in ("", ", hard routing")
    }
    return {
        "data": figures.data(scene),
        "decision_surface": figures.decision_surface(scene, gate[:, 0], "title"),
        "experts": figures.experts(scene, gate, logits, 0.9),
        "gate": figures.gate(scene, gate),
        "expert_usage_by_class": figures.expert_usage_by_class(gate, labels),
        "curves": figures.training_curves(history, restart=1),
        "accuracy_by_num_experts": figures.accuracy_by_num_experts(by_gate, ring=True),
    }


@pytest.mark.parametrize("num_experts", [1, 2, 4, 8, 9])
def test_every_axis_has_a_name_and_every_picture_fits(
    scene: figures.Scene, num_experts: int
) -> None:
    for name, figure in pictures(scene, num_experts).items():
        drawn(figure)
        for axes in figure.axes:
            if axes.axison and not hasattr(axes, "_colorbar"):
                assert axes.get_title(), name
                assert axes.get_ylabel() or axes.get_xlabel() or name == "gate", name


def test_perfect_accuracy_has_a_place_on_the_logit_axis() -> None:
    figure = figures.accuracy_by_num_experts({"linear gate": {1: 1.0, 2: 1.0}}, ring=False)
    low, high = drawn(figure).axes[0].get_ylim()
    assert low < figures.MAX_ACCURACY < high < 1


def test_frames_differ_only_where_something_was_learned(scene: figures.Scene) -> None:
    count = len(scene.plane.coarser().points)
    surfaces = {1: np.linspace(0, 1, count), 2: np.linspace(1, 0, count), 3: np.zeros(count)}
    frames = [np.asarray(frame, dtype=int) for frame in figures.learning(scene, surfaces)]
    assert len(frames) == 3
    height = frames[0].shape[0]
    changed = np.abs(frames[0] - frames[1]).sum(2) > 0
    assert changed[: int(0.9 * height)].mean() > 0.3
    assert not changed[int(0.93 * height) :].any()  # the legend stays


def test_the_plane_holds_the_points_and_its_refinements_the_same_part(scene: figures.Scene) -> None:
    plane = scene.plane
    inside = (scene.points >= plane.points.min(0)) & (scene.points <= plane.points.max(0))
    assert inside.mean() > 0.99
    for other in (plane.finer(), plane.coarser()):
        assert other.extent == pytest.approx(plane.extent)
    values = np.arange(len(plane.points))
    assert plane.image(values)[2, 5] == 2 * len(plane.x) + 5
