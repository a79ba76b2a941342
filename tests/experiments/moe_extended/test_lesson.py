"""Numbers of experts: which are trained, and what is logged of them."""

import pytest

from experiments.moe_extended import lesson
from experiments.moe_extended.config import MoEExtendedConfig
from experiments.moe_extended.lesson import EXPERIMENT, with_experts
from harness.training.train import train


def test_each_number_of_experts_is_trained_with_each_gate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lesson, "NUMBERS_OF_EXPERTS", (1, 2, 4))
    config = MoEExtendedConfig(**{**MoEExtendedConfig.tiny, "num_experts": 3, "animation": False})
    trained = train(EXPERIMENT, config)
    evaluation = EXPERIMENT.evaluate(config, trained, trained.data.test)
    kinds = ("linear_gate", "gate_with_a_hidden_layer", "linear_gate_em")
    names = {f"by_num_experts/{kind}{end}" for kind in kinds for end in ("", "_routed_hard")}
    assert evaluation.series.keys() == names
    assert all(list(values) == [1, 2, 3] for values in evaluation.series.values())
    alone = train(EXPERIMENT, with_experts(config, 2, gate_hidden=0)).history.best
    assert evaluation.series["by_num_experts/linear_gate"][2] == alone["val/accuracy"]
    hard = evaluation.series["by_num_experts/linear_gate_routed_hard"][2]
    assert hard == alone["val/hard_routing_accuracy"]
    # As many experts and units as the large mixture, which has been trained once before.
    same = evaluation.series["by_num_experts/gate_with_a_hidden_layer"][3]
    assert same == trained.history.best["val/accuracy"]

    drawn = dict(EXPERIMENT.figures(config, trained, evaluation))
    (axes,) = drawn["accuracy_by_num_experts"].axes  # type: ignore[union-attr]
    assert axes.get_legend_handles_labels()[1][:2] == ["linear gate", "linear gate, hard routing"]
    assert {"decision_surface", "curves"} <= drawn.keys()


def test_few_experts_are_all_used_for_each_point() -> None:
    config = MoEExtendedConfig(top_k=2, routing_noise=0.5, num_train=300)
    few, many = with_experts(config, 2, gate_hidden=4), with_experts(config, 4, gate_hidden=4)
    assert (few.top_k, few.routing_noise) == (0, 0)
    assert (many.top_k, many.routing_noise) == (2, 0.5)
    assert few.num_train == many.num_train == 300
    assert few.balance_loss_weight == config.balance_loss_weight
