"""Mixture of experts: straight lines that share a curved problem, and the gate that divides it.

    python -m experiments.moe                        two experts, as in the original task
    python -m experiments.moe --num-experts 3 --mixing logits

Points in the plane belong to one of two classes. One straight line cannot part them, so several
linear experts each learn a part, and a gating network learns where to trust which.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL.Image import Image
from pydantic import model_validator
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from datasets.regions import DataName, Points, regions
from datasets.splits import Split
from experiments.figures import moe as figures
from experiments.harness.batches import TensorBatches
from experiments.harness.config import (
    STRICT,
    Count,
    CountOrNone,
    NotNegative,
    Positive,
    TrainingConfig,
)
from experiments.harness.device import Hardware
from experiments.harness.experiment import Experiment, Learnt
from experiments.harness.launch import launch
from experiments.harness.loop import (
    Callback,
    History,
    LossFunction,
    Progress,
    evaluate,
    fit,
)
from experiments.harness.metrics import Outcome, scalars
from experiments.harness.tracking import Run
from models import moe
from models.moe import Mixing, Mixture, MixtureOfExperts, Perceptron


@dataclass(frozen=True, kw_only=True, config=STRICT)
class MoEConfig(TrainingConfig):
    """Train a mixture of linear experts on points in the plane."""

    family: ClassVar[str] = "moe"
    entry_point: ClassVar[str] = "moe"
    tiny: ClassVar[Mapping[str, Any]] = {
        "num_epochs": 2,
        "num_train": 200,
        "num_validation": 100,
        "num_test": 100,
        "num_experts": 2,
        "restarts": 2,
    }

    num_epochs: Count = 20
    batch_size: Count = 500
    learning_rate: Positive = 0.1
    precision: Literal["auto", "fp32", "bf16"] = "fp32"
    """Arithmetic of the forward pass; a dozen weights gain nothing from bf16 and lose accuracy."""
    data: DataName = "ring"
    """Which regions of the plane are to be told apart."""
    num_train: Count = 20_000
    """Points to train on."""
    num_validation: Count = 5_000
    """Points to choose epoch and restart by."""
    num_test: Count = 100_000
    """Points to judge the chosen model by, once."""
    num_experts: Count = 2
    """Number of linear experts, K."""
    mixing: Mixing = "probabilities"
    """What the gate averages: the experts' probabilities, or their logits before the sigmoid."""
    loss: Literal["cross_entropy", "competitive"] = "cross_entropy"
    """Cross-entropy of the mixture, or Jacobs' likelihood, for which the experts compete."""
    gate_hidden: CountOrNone = 0
    """Units of the gate's hidden layer (0: a linear gate)."""
    gate_temperature: Positive = 30.0
    """Softness of the gate and steepness of the experts when training starts."""
    top_k: CountOrNone = 0
    """Experts that each point is routed to (0: all of them)."""
    routing_noise: NotNegative = 0.0
    """Standard deviation of the noise on the gate's logits in training (needs top_k)."""
    bias_update_rate: NotNegative = 0.0
    """Step of the loss-free load balancing (needs top_k)."""
    balance_loss_weight: NotNegative = 0.0
    """Weight of the Switch balance loss."""
    z_loss_weight: NotNegative = 0.0
    """Weight of the z-loss on the gate's logits."""
    restarts: Count = 16
    """Initialisations trained at once; the best by validation loss is kept."""
    animation: bool = True
    """Log an animation of the surface while it learns."""

    @model_validator(mode="after")
    def _agree(self) -> "MoEConfig":
        if self.top_k > self.num_experts:
            raise ValueError(
                f"top_k={self.top_k}: exceeds num_experts={self.num_experts}; at most that many"
            )
        for name in ("routing_noise", "bias_update_rate"):
            if getattr(self, name) > 0 and self.top_k in (0, self.num_experts):
                raise ValueError(
                    f"{name}={getattr(self, name)}: needs a top_k from 1 to num_experts - 1, "
                    f"and top_k={self.top_k} routes every point to all {self.num_experts} experts"
                )
        return self


Splits = Mapping[Split, Points]


@dataclasses.dataclass(frozen=True, kw_only=True)
class LearntMixture(Learnt):
    """The best restart at its best epoch."""

    model: MixtureOfExperts
    restart: int
    """Which restart it was."""
    snapshots: "Snapshots"


def learn(
    config: MoEConfig,
    hardware: Hardware,
    run: Run | None = None,
    callbacks: Sequence[Callback] = (),
) -> LearntMixture:
    """Train `config.restarts` mixtures side by side and pick the best by validation loss."""
    # Data: points of which the classes are known, independent draws for each split.
    splits: Splits = {
        "train": draw(config, "train", run),
        "validation": draw(config, "validation", run),
    }

    # Model: a stack of restarts, which share no weight.
    stack = hardware.prepare(build(config, config.restarts), method="mix")

    # Training: all restarts at once, of which the best by validation is kept.
    snapshots = Snapshots(config.num_epochs if config.animation else 0)
    loss_function = partial(mixture_loss, config)
    history, restart = fit_restarts(
        stack,
        config,
        hardware,
        splits,
        loss_function,
        title=f"{config.num_experts} experts",
        callbacks=[snapshots, *callbacks],
        run=run,
    )
    model = build(config)
    model.load_state_dict(moe.select_from_stack(stack.state_dict(), restart))
    example = np.array([[-3, 0], [3, 0]], dtype=np.float32)
    return LearntMixture(
        model=model.eval(), history=history, example=example, restart=restart, snapshots=snapshots
    )


def judge(
    config: MoEConfig, hardware: Hardware, learnt: LearntMixture, run: Run
) -> dict[str, float]:
    """Measure the chosen mixture on the test split, beside baselines, and picture it."""
    # Evaluation: the test split is read here, and nothing is chosen after it.
    test = draw(config, "test", run)
    metrics = measure(config, learnt, test)
    metrics |= baselines(config, hardware, test, round(metrics["num_parameters"]))
    run.log_metrics(metrics)
    run.describe(
        f"{config.num_experts} experts on {config.data}, mixing {config.mixing}: "
        f"test accuracy {metrics['test/accuracy']:.4f}, "
        f"with hard routing {metrics['test/hard_routing_accuracy']:.4f}; "
        f"logistic regression {metrics['test/logistic_regression_accuracy']:.4f}, "
        f"perceptron {metrics['test/perceptron_accuracy']:.4f}."
    )

    # Pictures.
    draw_pictures(config, test, learnt, metrics, run)
    return metrics


EXPERIMENT = Experiment(MoEConfig, learn, judge)


def draw(config: MoEConfig, split: Split, run: Run | None = None) -> Points:
    """Draw one split, on the CPU, and log it to the run."""
    counts = {
        "train": config.num_train,
        "validation": config.num_validation,
        "test": config.num_test,
    }
    drawn = regions(config.data).draw(counts[split], config.seed, split)
    if run is not None:
        run.log_dataset(config.data, split, drawn.points.numpy(), drawn.labels.numpy())
    return drawn


def build(config: MoEConfig, restarts: int = 0) -> MixtureOfExperts:
    """Build one mixture, or a stack of `restarts` of them, freshly initialised."""
    return MixtureOfExperts(
        in_features=2,
        num_experts=config.num_experts,
        mixing=config.mixing,
        gate_hidden=config.gate_hidden,
        top_k=config.top_k,
        routing_noise=config.routing_noise,
        bias_update_rate=config.bias_update_rate,
        temperature=config.gate_temperature,
        stack=(restarts,) if restarts else (),
    )


def fit_restarts(
    stack: nn.Module,
    config: MoEConfig,
    hardware: Hardware,
    splits: Splits,
    loss_function: LossFunction,
    title: str,
    callbacks: Sequence[Callback] = (),
    run: Run | None = None,
) -> tuple[History, int]:
    """Train a stack of restarts; return its history and the best one at the best epoch."""
    history = fit(
        stack,
        config,
        train=batches(splits["train"], hardware, config.batch_size),
        validation=batches(splits["validation"], hardware),
        loss_function=loss_function,
        optimizer=adam(stack, config),
        hardware=hardware,
        summarise=of_best_restart,
        clip=clip_each_restart,
        callbacks=callbacks,
        run=run,
        title=title,
    )
    return history, best_restart(history.raw[history.best_epoch - 1])


def batches(split: Points, hardware: Hardware, batch_size: int = 0) -> TensorBatches:
    """Put a split on the device: shuffled batches, or all of it as one batch."""
    on_device = [tensor.to(hardware.device) for tensor in split]
    return TensorBatches(
        *on_device, batch_size=batch_size or len(split.labels), shuffle=batch_size > 0
    )


def adam(model: nn.Module, config: MoEConfig) -> torch.optim.Optimizer:
    """Return Adam, with decoupled weight decay if there is any."""
    return torch.optim.AdamW(
        model.parameters(),
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
        fused=True,
    )


def mixture_loss(
    config: MoEConfig, model: MixtureOfExperts, batch: tuple[Tensor, Tensor]
) -> Outcome:
    """Return the loss of a batch: points (B, 2), labels (B,). Metrics are (R,), one per restart."""
    points, labels = batch
    mixture = model.mix(points)
    logits = mixture.combine(config.mixing)  # (R, B)
    if config.loss == "competitive":
        loss = moe.competitive_loss(mixture, labels)
    else:
        loss = moe.binary_cross_entropy(logits, labels)
    metrics = {"loss": loss, "accuracy": accuracy(logits, labels)}
    if not model.training:
        metrics["hard_routing_accuracy"] = accuracy(mixture.hard_logit, labels)
        metrics |= describe_routing(mixture, config.top_k)
    if config.balance_loss_weight > 0:
        loss = loss + config.balance_loss_weight * moe.balance_loss(mixture.gate, config.top_k)
    if config.z_loss_weight > 0:
        loss = loss + config.z_loss_weight * moe.z_loss(mixture.gate_logits)
    # The restarts share no parameter: the gradient of the sum is the gradient of each.
    return Outcome(loss.sum(), metrics, len(labels))


def accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Fraction of points on the right side, (*S,); logits (*S, B), labels (B,)."""
    return ((logits > 0) == (labels > 0.5)).double().mean(-1)


def describe_routing(mixture: Mixture, top_k: int) -> dict[str, Tensor]:
    """Return how the gate divides the points: entropy (*S,), imbalance (*S,), shares (*S, K)."""
    share = moe.load_of_experts(mixture.gate, top_k)
    return {
        "gate_entropy": moe.gate_entropy(mixture.gate),
        "load_variation": moe.coefficient_of_variation(share),
        "expert_share": share,
    }


def best_restart(metrics: dict[str, Tensor]) -> int:
    """Return the restart with the lowest validation loss."""
    return int(metrics["val/loss"].argmin())


def of_best_restart(metrics: dict[str, Tensor]) -> dict[str, float]:
    """Reduce metrics (R, ...) to those of the best restart of this epoch."""
    restart = best_restart(metrics)
    return scalars({name: value[restart] for name, value in metrics.items()})


def clip_each_restart(model: nn.Module, longest: float) -> None:
    """Clip the gradient of each restart by its own norm, as if it were trained alone."""
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    squares = torch.stack([gradient.square().flatten(1).sum(1) for gradient in gradients])
    factor = (longest / squares.sum(0).sqrt().clamp(min=1e-12)).clamp(max=1)  # (R,)
    for gradient in gradients:
        gradient.mul_(factor.view(-1, *[1] * (gradient.dim() - 1)))


class Snapshots:
    """Remembers the weights at up to 40 epochs, early ones more densely, for the animation."""

    def __init__(self, num_epochs: int):
        self.epochs = {round(e) for e in np.geomspace(1, num_epochs, 40)} if num_epochs else set()
        self.weights: dict[int, dict[str, Tensor]] = {}

    def __call__(self, progress: Progress) -> None:
        """Take a snapshot, if this epoch is one of those."""
        if progress.epoch in self.epochs:
            state = progress.model.state_dict()
            self.weights[progress.epoch] = {k: v.detach().cpu().clone() for k, v in state.items()}

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"weights": self.weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self.weights = state["weights"]


def measure(config: MoEConfig, learnt: LearntMixture, test: Points) -> dict[str, float]:
    """Measure the chosen mixture on the test split."""
    points, labels = test
    with torch.inference_mode():
        mixture = learnt.model.mix(points)
        logits = mixture.combine(config.mixing)
    routing = {f"test/{k}": v for k, v in describe_routing(mixture, config.top_k).items()}
    return {
        "best/val_accuracy": learnt.history.best["val/accuracy"],
        "best/val_loss": learnt.history.best["val/loss"],
        "best/epoch": learnt.history.best_epoch,
        "test/accuracy": accuracy(logits, labels).item(),
        "test/loss": moe.binary_cross_entropy(logits, labels).item(),
        "test/hard_routing_accuracy": accuracy(mixture.hard_logit, labels).item(),
        **scalars(routing),
        "num_parameters": sum(p.numel() for p in learnt.model.parameters()),
    }


def baselines(
    config: MoEConfig, hardware: Hardware, test: Points, num_parameters: int
) -> dict[str, float]:
    """Train a line, and a perceptron of so many weights, and measure them on the test split."""
    hidden_units = math.ceil((num_parameters - 1) / 4)  # a perceptron has 4 weights a unit, and 1
    splits: Splits = {
        "train": draw(config, "train"),
        "validation": draw(config, "validation"),
        "test": test,
    }
    return {
        "test/logistic_regression_accuracy": baseline(config, hardware, splits, hidden_units=0),
        "test/perceptron_accuracy": baseline(config, hardware, splits, hidden_units),
    }


def baseline(config: MoEConfig, hardware: Hardware, splits: Splits, hidden_units: int) -> float:
    """Train a perceptron as long and with as many restarts; return its test accuracy."""
    restarts = config.restarts if hidden_units else 1  # logistic regression has one optimum
    stack = hardware.prepare(Perceptron(2, hidden_units, 1, stack=(restarts,)))

    def loss_function(model: Perceptron, batch: tuple[Tensor, Tensor]) -> Outcome:
        points, labels = batch
        logits = model(points).squeeze(-2)  # (R, B)
        loss = moe.binary_cross_entropy(logits, labels)
        metrics = {"loss": loss, "accuracy": accuracy(logits, labels)}
        return Outcome(loss.sum(), metrics, len(labels))

    title = f"perceptron, {hidden_units} units" if hidden_units else "logistic regression"
    _, restart = fit_restarts(stack, config, hardware, splits, loss_function, title)
    tested = evaluate(stack, batches(splits["test"], hardware), loss_function, hardware).means()
    return tested["accuracy"][restart].item()


def draw_pictures(
    config: MoEConfig,
    test: Points,
    learnt: LearntMixture,
    metrics: dict[str, float],
    run: Run,
) -> None:
    """Log every picture of the model that was chosen."""
    points, labels = (tensor.numpy() for tensor in test)
    plane = figures.Plane.around(points)
    truth = regions(config.data).label(torch.from_numpy(plane.finer().points)).numpy()
    scene = figures.Scene(plane, truth, points, labels)
    with torch.inference_mode():
        mixture = learnt.model.mix(torch.from_numpy(plane.points))
        trusted = learnt.model.mix(test.points).gate.argmax(-2).numpy()
    probability = mixture.combine(config.mixing).sigmoid().numpy()
    gate, lines = mixture.gate.T.numpy(), mixture.expert_logits.T.numpy()
    counts = [np.bincount(trusted[labels == c], minlength=config.num_experts) for c in (0, 1)]
    shares = np.stack([count / max(count.sum(), 1) for count in counts])
    title = f"{config.num_experts} experts: test accuracy {metrics['test/accuracy']:.3f}"

    run.log_figure("data", figures.data(scene))
    run.log_figure("decision_surface", figures.decision_surface(scene, probability, title))
    hard_accuracy = metrics["test/hard_routing_accuracy"]
    run.log_figure("experts", figures.experts(scene, gate, lines, hard_accuracy))
    run.log_figure("gate", figures.gate(scene, gate))
    run.log_figure("share_by_class", figures.share_by_class(shares))
    run.log_figure("curves", draw_curves_of(learnt))
    if config.animation:
        run.log_animation("learning", draw_learning(config, scene, learnt), milliseconds=120)


def draw_curves_of(learnt: LearntMixture) -> Figure:
    """Draw the training of the chosen restart, the losses of the others behind it."""
    history, restart = learnt.history, learnt.restart
    losses = history.stacked("val/loss")  # (epochs, R)
    return figures.curves(
        losses={
            "training": history.stacked("train/loss")[:, restart],
            "validation": losses[:, restart],
        },
        other_restarts=np.delete(losses, restart, axis=1),
        accuracies={
            "training": history.stacked("train/accuracy")[:, restart],
            "validation": history.stacked("val/accuracy")[:, restart],
        },
        learning_rate=history.column("learning_rate"),
        gate_entropy=history.stacked("val/gate_entropy")[:, restart],
        load=history.stacked("val/expert_share")[:, restart],
        best_epoch=history.best_epoch,
    )


def draw_learning(config: MoEConfig, scene: figures.Scene, learnt: LearntMixture) -> list[Image]:
    """Draw the chosen restart's surface at each snapshot, up to the weights that were kept."""
    points = torch.from_numpy(scene.plane.coarser().points)
    best_epoch = learnt.history.best_epoch
    model = build(config).eval()
    surfaces = {}
    with torch.inference_mode():
        for epoch, weights in learnt.snapshots.weights.items():
            if epoch < best_epoch:
                model.load_state_dict(moe.select_from_stack(weights, learnt.restart))
                surfaces[epoch] = model(points).sigmoid().numpy()
        surfaces[best_epoch] = learnt.model(points).sigmoid().numpy()
    return figures.learning(scene, surfaces)


if __name__ == "__main__":
    launch(EXPERIMENT)
