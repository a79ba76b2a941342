"""Pictures of tables: any number of features, classes and experts, in the pane's width."""

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from sklearn.decomposition import PCA

from experiments.moe import table_figures
from harness.evaluation import Predictions
from harness.figures import style
from tests.harness.figures.layout import drawn

RANDOM = np.random.default_rng(0)


def pictures(num_features: int, num_classes: int, num_experts: int) -> dict[str, Figure]:
    points = RANDOM.normal(size=(60, num_features)).astype(np.float32)
    names = [f"a class with quite a long name {k}" for k in range(num_classes)]
    features = [f"a feature with quite a long name {k}" for k in range(num_features)]
    labels = RANDOM.integers(num_classes, size=60)
    predictions = Predictions(labels, RANDOM.dirichlet(np.ones(num_classes), 60), names)
    view = table_figures.View.of(points, features)
    assert view.points.shape == (len(view.plane.points), num_features)
    probabilities = RANDOM.dirichlet(np.ones(num_classes), len(view.points))
    gate = RANDOM.dirichlet(np.ones(num_experts), len(view.points))
    num_logits = 1 if num_classes == 2 else num_classes
    weights = RANDOM.normal(size=(num_experts, num_logits, num_features))
    return {
        "surface": table_figures.decision_surface(view, probabilities, points, predictions),
        "experts": table_figures.expert_regions(view, gate, points, labels, names),
        "gate": table_figures.gate_probabilities(view, gate),
        "weights": table_figures.expert_weights(weights, features, names),
        "usage": table_figures.expert_usage_by_class(gate[:60], labels, names),
    }


@pytest.mark.parametrize(
    ("num_features", "num_classes", "num_experts"), [(1, 2, 2), (2, 3, 1), (30, 10, 10)]
)
def test_pictures_fit_and_say_what_they_show(
    num_features: int, num_classes: int, num_experts: int
) -> None:
    for name, figure in pictures(num_features, num_classes, num_experts).items():
        drawn(figure)
        titles = [axes.get_title() for axes in figure.axes if axes.axison]
        assert any(titles) or figure.get_suptitle(), name
        if num_features > 2 and name in ("surface", "experts"):
            assert "principal components through the mean" in figure.axes[0].get_title()
            assert "% of the variance" in figure.axes[0].get_xlabel()


def test_the_plane_is_that_of_the_leading_components_through_the_mean() -> None:
    points = RANDOM.normal(size=(80, 5)) * [5, 1, 3, 0.1, 0.1] + [1, 2, 3, 4, 5]
    view = table_figures.View.of(points.astype(np.float32), list("abcde"))
    residuals = view.points - PCA(2).fit(points).inverse_transform(
        PCA(2).fit(points).transform(view.points)
    )
    np.testing.assert_allclose(residuals, 0, atol=1e-3)
    np.testing.assert_allclose(view.project(points.mean(0)[None]), 0, atol=1e-4)


def test_a_point_has_the_colour_of_its_most_probable_class_and_is_paler_where_uncertain() -> None:
    certain, even, unsure = table_figures.shaded(
        np.array([[0.0, 0, 1], [1 / 3, 1 / 3, 1 / 3], [0.2, 0.3, 0.5]])
    )
    colour = np.array(to_rgb(style.class_colours(3)[2]))
    for shade in (certain, unsure):
        direction = (1 - shade) / (1 - shade).sum()
        np.testing.assert_allclose(direction, (1 - colour) / (1 - colour).sum())
    assert (1 - certain).sum() > (1 - unsure).sum() > (1 - even).sum()


def test_ten_classes_have_ten_colours() -> None:
    for count in range(2, 11):
        assert len(set(style.class_colours(count))) == count
    assert torch.tensor([to_rgb(c) for c in style.class_colours(12)]).shape == (12, 3)
