"""How many experts does a problem need? A large mixture, then 1, 2, 3, ... experts.

The large mixture has a gate with a hidden layer and a load-balancing loss. It is then compared with
mixtures of fewer experts, each with a linear gate and with a gate like its own, and with a linear
gate by expectation maximisation. On the ring, the figure shows beside them the best accuracy that a
boundary of so many straight segments can reach.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

from datasets.toy_datasets import Points
from experiments.moe import figures
from experiments.moe.config import MoEConfig
from experiments.moe.lesson import MixtureEvaluation, MixtureOfLinearExperts
from experiments.moe_extended.config import MoEExtendedConfig
from harness.execution.train_all import train_all
from harness.experiment import NamedFigure, Trained

NUMBERS_OF_EXPERTS = (1, 2, 3, 4, 6, 8)  # those below `num_experts` are compared with it


def with_experts(
    config: MoEConfig, num_experts: int, gate_hidden: int, **changes: Any
) -> MoEConfig:
    """Return the configuration for other sizes; up to `top_k` experts, all of them are used."""
    changes |= {"num_experts": num_experts, "gate_hidden": gate_hidden, "animation": False}
    if num_experts <= config.top_k:
        changes["top_k"] = 0
    return MoEConfig.effective(**{**config.as_parameters(), **changes})


def legend(metric: str) -> str:
    """Return how the figure names a metric: `linear gate, hard routing`."""
    name = metric.removeprefix("by_num_experts/").replace("_routed_hard", ", hard routing")
    return name.replace("_em", ", EM").replace("_", " ")


class NumbersOfExperts(MixtureOfLinearExperts):
    """Compare mixtures of different sizes; data, model and training stay as they are."""

    config_class = MoEExtendedConfig

    # 4 Evaluation

    def evaluate(self, config: MoEConfig, trained: Trained, test: Points) -> MixtureEvaluation:
        """Evaluate the large mixture, then train one for each number of experts and each gate.

        Expectation maximisation trains those with a linear gate, too, if it can train their like.
        They are compared on the validation split: the test split has been read.
        """
        evaluation = super().evaluate(config, trained, test)
        counts = [count for count in NUMBERS_OF_EXPERTS if count < config.num_experts]
        kinds: dict[str, dict[str, Any]] = {
            "linear_gate": {"gate_hidden": 0},
            "gate_with_a_hidden_layer": {"gate_hidden": config.gate_hidden},
        }
        if config.mixing == "probabilities" and not (config.top_k or config.expert_hidden):
            em = {"training": "em", "num_epochs": config.em_iterations}
            kinds["linear_gate_em"] = {"gate_hidden": 0, **em}
        smaller = {
            (kind, count): with_experts(config, count, **changes)
            for kind, changes in kinds.items()
            for count in (*counts, config.num_experts)
        }
        series: dict[str, dict[int, float]] = {}
        for (kind, count), mixture in train_all(self, smaller, config, trained.data).items():
            best, name = mixture.history.best, f"by_num_experts/{kind}"
            series.setdefault(name, {})[count] = best["val/accuracy"]
            routed_hard = series.setdefault(f"{name}_routed_hard", {})
            routed_hard[count] = best["val/hard_routing_accuracy"]
        return dataclasses.replace(evaluation, series=series)

    # 5 Figures

    def figures(
        self, config: MoEConfig, trained: Trained, evaluation: MixtureEvaluation
    ) -> Iterator[NamedFigure]:
        """Draw the large mixture, and accuracy against the number of experts."""
        yield from super().figures(config, trained, evaluation)
        by_gate = {legend(name): dict(values) for name, values in evaluation.series.items()}
        ring = config.data == "ring"
        yield "accuracy_by_num_experts", figures.accuracy_by_num_experts(by_gate, ring=ring)


EXPERIMENT = NumbersOfExperts()
