"""The picture of the tree: lines where gates divide the plane, shares below the leaves."""

import numpy as np
import pytest
from matplotlib.contour import QuadContourSet

from experiments.moe import figures, tree_figure
from tests.harness.figures.layout import drawn

POINTS = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)


def scene() -> figures.Scene:
    plane = figures.Plane.around(POINTS, resolution=41)
    truth = (plane.finer().points[:, 0] > 0).astype(np.float32)
    return figures.Scene(plane, truth, POINTS, (POINTS[:, 0] > 0).astype(np.float32))


def test_a_gates_line_ends_where_another_branch_begins() -> None:
    """The root divides left from right; the second gate the left half into lower and upper."""
    here = scene()
    x, y = 9 * here.plane.points.T
    right, up, never = (1 / (1 + np.exp(-z)) for z in (x, y, np.full_like(x, -9)))
    leaves = [(1 - right) * (1 - up), (1 - right) * up, right * (1 - never), right * never]
    figure = tree_figure.gating_tree(here, np.stack(leaves, axis=1), [0.2, 0.3, 0.5, 0.0])
    drawn(figure)
    over, tree = figure.axes
    _, *lines = [c for c in over.collections if isinstance(c, QuadContourSet)]
    vertices = [np.concatenate(line.allsegs[0]) for line in lines]
    assert len(vertices) == 2  # the third gate sends all points to the left
    np.testing.assert_allclose(vertices[0][:, 0], 0, atol=1e-2)
    np.testing.assert_allclose(vertices[1][:, 1], 0, atol=1e-2)
    assert vertices[1][:, 0].max() < 0.1
    root, second = (line.get_linewidths()[0] for line in lines)  # type: ignore[attr-defined]
    assert root > second
    texts = [text.get_text() for text in tree.texts]
    assert [text for text in texts if "%" in text] == ["20%", "30%", "50%", "0%"]
    assert {text.get_text() for text in over.texts} == {"1", "2", "3"}


@pytest.mark.parametrize("num_experts", [2, 16, 32])
def test_trees_of_every_depth_fit(num_experts: int) -> None:
    gate = np.random.default_rng(1).dirichlet(np.ones(num_experts), size=len(scene().plane.points))
    figure = tree_figure.gating_tree(scene(), gate, [1 / num_experts] * num_experts)
    drawn(figure)
    assert all(axes.get_title() for axes in figure.axes)
