"""The ways of training a mixture: the zero-one loss at the end, and expectation maximisation."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from experiments.moe.baselines import Baseline
from experiments.moe.config import MoEConfig
from experiments.moe.lesson import EXPERIMENT
from experiments.moe.restarts import best_restart
from experiments.moe_extended.config import MoEExtendedConfig
from harness.errors import UserError
from harness.training.train import train
from models import stacked
from models.expectation_maximisation import expectation_maximisation
from tests.experiments.conftest import check_resuming

SMALL = MoEConfig(
    **{**MoEConfig.tiny, "num_train": 2_000, "num_test": 20_000, "restarts": 4, "animation": False}
)
EM = SMALL.replace(training="em", num_epochs=12)


def test_the_last_epochs_lower_the_zero_one_loss_ever_more_sharply() -> None:
    config = SMALL.replace(num_epochs=12, zero_one_fraction=0.5)
    data = EXPERIMENT.load_data(config)
    sharpness = [
        {batch[2:] for batch in EXPERIMENT.training_batches(config, data, epoch)}
        for epoch in range(1, 13)
    ]
    assert sharpness == [{()}] * 6 + [{(s,)} for s in (1.0, 1.0, 2.0, 2.0, 4.0, 4.0)]
    points, labels = data.validation
    model = EXPERIMENT.build_model(config, data)
    logits = model.mix(points).combine(config.mixing)
    expected = (-3 * (2 * labels - 1) * logits).sigmoid().mean(-1)
    assert EXPERIMENT.loss(config, model, (points, labels, 3.0)).loss.item() == pytest.approx(
        expected.sum().item()
    )


def test_it_gains_accuracy_where_the_likelihood_stops_and_costs_likelihood() -> None:
    """The optimum of the likelihood is at 0.945 here, and two straight segments end at 0.952."""
    config = SMALL.replace(num_train=10_000, num_epochs=6, training="em_then_gradient", restarts=2)
    config = config.replace(zero_one_fraction=1.0, learning_rate=0.05, num_validation=5_000)
    trained = train(EXPERIMENT, config)
    first = stacked.select_from_stack(trained.untrained.state_dict(), best_restart(trained.history))
    likeliest = EXPERIMENT.restore_model(config, trained.data, first)
    reached = {}
    for name, model in (("likelihood", likeliest), ("errors", trained.model)):
        output = EXPERIMENT.loss(config, model, trained.data.test)
        reached[name] = {key: output.metrics[key].item() for key in ("accuracy", "loss")}
    assert reached["errors"]["accuracy"] > reached["likelihood"]["accuracy"] + 0.002
    assert reached["errors"]["loss"] > reached["likelihood"]["loss"]


@pytest.mark.parametrize(
    ("changes", "epochs"),
    [
        ({}, 10),
        ({"data": "iris"}, 0),
        ({"top_k": 1}, 0),
        ({"mixing": "logits", "loss": "competitive"}, 0),
        ({"top_k": 1, "zero_one_fraction": 0.25}, 5),
        ({"training": "em"}, 0),
    ],
)
def test_the_zero_one_loss_is_for_points_in_the_plane_unless_asked_for(
    changes: dict[str, Any], epochs: int
) -> None:
    assert MoEConfig(**changes).zero_one_epochs == epochs


def test_without_it_the_objective_is_the_loss() -> None:
    trained = train(EXPERIMENT, SMALL.replace(zero_one_fraction=0.0))
    assert torch.equal(
        trained.history.raw[-1]["val/objective"], trained.history.raw[-1]["val/loss"]
    )


def test_logistic_regression_keeps_to_the_likelihood() -> None:
    data = EXPERIMENT.load_data(SMALL)
    batch = (*data.validation, 2.0)
    for hidden_units, same in ((0, True), (3, False)):
        baseline = Baseline(hidden_units)
        output = baseline.loss(SMALL, baseline.build_model(SMALL, data), batch)
        assert torch.isclose(output.loss, output.metrics["loss"].sum()).item() == same


def test_an_epoch_of_em_is_an_iteration_on_all_points() -> None:
    trained = train(EXPERIMENT, EM)
    losses = trained.history.stacked("train/loss")  # (epochs, restarts), before each iteration
    assert (np.diff(losses, axis=0) < 1e-5).all()
    stack = trained.untrained
    points, labels = trained.data.train
    expectation_maximisation(stack, points, labels, trained.history.best_epoch)
    alone = stacked.select_from_stack(stack.state_dict(), best_restart(trained.history))
    for name, value in trained.model.state_dict().items():
        torch.testing.assert_close(value, alone[name], rtol=1e-4, atol=1e-4)
    assert set(trained.history.column("learning_rate")) == {0.0}


@pytest.mark.slow
def test_em_resumes_with_its_overrelaxation(store: Path) -> None:
    check_resuming(EXPERIMENT, EM.replace(num_epochs=6))


def test_em_draws_responsibilities() -> None:
    trained = train(EXPERIMENT, EM)
    evaluation = EXPERIMENT.evaluate(EM, trained, trained.data.test)
    assert evaluation.metrics["test/accuracy"] > 0.9
    figure = dict(EXPERIMENT.figures(EM, trained, evaluation))["responsibilities"]
    assert isinstance(figure, Figure)
    titles = [axes.get_title() for axes in figure.axes if axes.axison]
    assert titles[0].startswith("start: ")
    numbers = [int(title.split()[1].rstrip(":")) for title in titles[1:]]
    assert numbers[-1] == trained.history.best_epoch
    losses = [float(title.split()[-2]) for title in titles]
    assert losses[-1] < losses[0]


def test_a_hierarchical_mixture_draws_its_tree() -> None:
    config = SMALL.replace(training="em_then_gradient", gate="hierarchical", num_experts=4)
    trained = train(EXPERIMENT, config)
    evaluation = EXPERIMENT.evaluate(config, trained, trained.data.test)
    assert evaluation.metrics["test/accuracy"] > 0.95
    figure = dict(EXPERIMENT.figures(config, trained, evaluation))["gating_tree"]
    assert isinstance(figure, Figure)
    shares = [text.get_text() for text in figure.axes[1].texts if "%" in text.get_text()]
    assigned = evaluation.mixture.gate.argmax(0)
    assert shares == [f"{(assigned == k).float().mean():.0%}" for k in range(4)]


def test_em_of_a_table() -> None:
    config = MoEConfig(data="wine", training="em", num_experts=3, num_epochs=8, restarts=2)
    trained = train(EXPERIMENT, config)
    evaluation = EXPERIMENT.evaluate(config, trained, trained.data.test)
    assert evaluation.metrics["test/accuracy"] > 0.85
    assert len(dict(EXPERIMENT.figures(config, trained, evaluation))) > 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training": "em", "top_k": 1}, "^top_k=1: .* it needs training=gradient$"),
        ({"training": "em", "gate_hidden": 4}, "^gate_hidden=4: .* it needs training=gradient$"),
        ({"training": "em", "mixing": "logits"}, "^mixing=logits: .* it needs training=gradient$"),
        ({"training": "em", "learning_rate": 0.2}, "^learning_rate=0.2: .* training=gradient or "),
        ({"training": "em", "ema_decay": 0.9}, "^ema_decay=0.9: .* training=gradient or "),
        ({"em_iterations": 3}, "^em_iterations=3: .* it needs training=em_then_gradient$"),
    ],
)
def test_what_em_does_not_know_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        MoEConfig(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_experts": 6}, "^num_experts=6: with gate=hierarchical, .* 2, 4, 8 or another power"),
        ({"num_experts": 1}, "^gate=hierarchical: .* it needs num_experts=2 or more$"),
        ({"z_loss_weight": 0.1, "num_experts": 4}, "^z_loss_weight=0.1: .* it needs gate=softmax"),
    ],
)
def test_what_a_tree_does_not_know_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        MoEConfig(gate="hierarchical", **changes)


@pytest.mark.parametrize("changes", [{}, {"top_k": 2, "num_experts": 4}])
def test_importance_and_load_need_noise(changes: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"^balance_loss=importance_and_load: .*noisy_top_k"):
        MoEConfig(balance_loss="importance_and_load", balance_loss_weight=0.1, **changes)


def test_importance_and_load_even_out_the_experts() -> None:
    config = SMALL.replace(num_experts=8, top_k=2, routing="noisy_top_k", restarts=1, num_epochs=12)
    balanced = config.replace(balance_loss_weight=1.0, balance_loss="importance_and_load")
    variation = [
        train(EXPERIMENT, each).history.best["val/load_variation"] for each in (config, balanced)
    ]
    assert variation[1] < 0.5 * variation[0]


def test_a_default_gate_with_a_hidden_layer_is_refused_by_em() -> None:
    with pytest.raises(UserError, match=r"^training=em: .*gradient"):
        MoEExtendedConfig(training="em")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_experts": 41, "num_train": 40}, "^num_experts=41: exceeds num_train=40"),
        ({"num_train": 1, "num_experts": 1}, "^num_train=1: no point of class [01] is among them"),
        ({"num_validation": 1}, "^num_validation=1: no point of class [01] is among them"),
        ({"data": "iris", "num_experts": 91}, "^num_experts=91: more than the 90 training rows"),
    ],
)
@pytest.mark.parametrize("training", ["gradient", "em"])
def test_too_few_points_are_named(training: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        EXPERIMENT.load_data(MoEConfig(training=training, **changes))
