"""The bonus of the mixture of experts: more experts, a gate with a hidden layer, balanced load.

    python -m experiments.moe_extended

Trains one large mixture as `experiments.moe` does, then asks how many experts the problem needs:
mixtures of 1, 2, 3 ... experts with the same recipe, their accuracy beside the best that a
boundary of so many straight segments could reach.
"""

from typing import ClassVar

from pydantic.dataclasses import dataclass

from experiments import moe
from experiments.figures import moe as figures
from experiments.harness.config import STRICT, Count, NotNegative
from experiments.harness.device import Hardware
from experiments.harness.experiment import Experiment
from experiments.harness.launch import launch
from experiments.harness.tracking import Run

SWEEP = (1, 2, 3, 4, 6, 8)
"""Numbers of experts to compare, those below `num_experts` and itself."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class MoEExtendedConfig(moe.MoEConfig):
    """Train a larger mixture, and compare numbers of experts."""

    entry_point: ClassVar[str] = "moe_extended"

    num_experts: Count = 8
    gate_hidden: Count = 16
    balance_loss_weight: NotNegative = 0.01


def judge(
    config: MoEExtendedConfig, hardware: Hardware, learnt: moe.LearntMixture, run: Run
) -> dict[str, float]:
    """Judge the large mixture, then train one for each smaller number of experts."""
    metrics = moe.judge(config, hardware, learnt, run)

    # The comparison is made on validation: the test split has been read.
    counts = [k for k in SWEEP if k < config.num_experts] + [config.num_experts]
    accuracy: dict[str, dict[int, float]] = {}
    for gate, units in (("linear gate", 0), ("gate with a hidden layer", config.gate_hidden)):
        mixed, hard = {}, {}
        for num_experts in counts:
            recipe = with_experts(config, num_experts, units)
            best = moe.learn(recipe, hardware).history.best
            mixed[num_experts] = best["val/accuracy"]
            hard[num_experts] = best["val/hard_routing_accuracy"]
        accuracy |= {gate: mixed, f"{gate}, routed hard": hard}
    for name, values in accuracy.items():
        key = name.replace(", ", "_").replace(" ", "_")
        run.log_series(f"by_num_experts/{key}", values)
    ring = config.data == "ring"
    run.log_figure("accuracy_by_num_experts", figures.accuracy_by_num_experts(accuracy, ring=ring))
    return metrics


EXPERIMENT = Experiment(MoEExtendedConfig, moe.learn, judge)


def with_experts(config: MoEExtendedConfig, num_experts: int, gate_hidden: int) -> moe.MoEConfig:
    """Return the recipe for other sizes, routed to all experts where `top_k` is all of them."""
    sparse = 0 < config.top_k < num_experts
    changes = {
        "num_experts": num_experts,
        "gate_hidden": gate_hidden,
        "top_k": config.top_k if sparse else 0,
        "routing_noise": config.routing_noise if sparse else 0.0,
        "bias_update_rate": config.bias_update_rate if sparse else 0.0,
        "animation": False,
    }
    return moe.MoEConfig(**{**config.as_parameters(), **changes})


if __name__ == "__main__":
    launch(EXPERIMENT)
