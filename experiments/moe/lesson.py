"""Mixture of experts: straight lines that share a curved problem, and the gate that divides it.

Points in the plane belong to one of two classes. One straight line cannot separate them, so several
linear experts each model a part of the plane, and a gating network says which expert counts where:

    P(1 | x) = sum_k g_k(x) sigmoid(w_k x + b_k),  g(x) = softmax of the gate's K logits

This is `mixing=probabilities`, the default; `mixing=logits` averages the experts' logits instead.
With `top_k`, only so many experts are evaluated for a point, and the logits of the others are 0.

    R. Jacobs, M. Jordan, S. Nowlan, G. Hinton, "Adaptive mixtures of local experts", 1991
    M. Jordan, R. Jacobs, "Hierarchical mixtures of experts and the EM algorithm", 1994
    W. Fedus, B. Zoph, N. Shazeer, "Switch Transformers", 2021

Letters: B points, K experts, R restarts. S is the shape in front of them: (R,) for the stack of
mixtures that is trained, () for the one that is kept.
"""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from sklearn.metrics import mutual_info_score
from torch import Tensor

from datasets.points import Points
from datasets.toy_datasets import toy_dataset
from experiments.moe import figures, responsibilities, routing_figures, table_figures, tree_figure
from experiments.moe.baselines import same_size, train_baseline
from experiments.moe.config import MoEConfig
from experiments.moe.data import (
    PointSplits,
    generated_points,
    require_every_class,
    table_points,
)
from experiments.moe.restarts import StackedExperiment, accuracy, best_restart, objective
from harness.evaluation import ClassifierEvaluation, Predictions
from harness.experiment import Animation, NamedFigure, Trained
from harness.figures import classification
from harness.training.batches import Batches, TensorBatches
from harness.training.history import History
from harness.training.metrics import StepOutput, scalars
from harness.wording import plural
from models import moe_losses, stacked
from models.expectation_maximisation import ExpectationMaximisation, expectation_maximisation
from models.moe import Mixture, MixtureOfExperts
from models.zero_one_loss import smoothed_zero_one_loss


def routing_metrics(mixture: Mixture, top_k: int) -> dict[str, Tensor]:
    """Return how the gate divides the points: entropy (*S,), imbalance (*S,), shares (*S, K)."""
    share = moe_losses.expert_load(mixture, top_k)
    return {
        "gate_entropy": moe_losses.gate_entropy(mixture.gate),
        "load_variation": moe_losses.coefficient_of_variation(share),
        "expert_share": share,
    }


@dataclasses.dataclass(frozen=True, kw_only=True)
class MixtureEvaluation(ClassifierEvaluation):
    """Metrics on the test split, and the outputs of gate and experts there."""

    mixture: Mixture


class MixtureOfLinearExperts(StackedExperiment):
    """A few straight lines and a gate separate what no single line can.

    On the default data, class 1 lies outside a circle: logistic regression classifies 0.68 of the
    points, two experts 0.951, and the best possible boundary of two straight segments 0.952. The
    likelihood alone would end at 0.945: what is optimised is not what is counted. A run trains R
    initialisations at once, because some of them end in poor local optima, and keeps the best by
    validation: restarts.py has optimiser, clipping and selection for such a stack.
    """

    compiled_method = "mix"  # what `loss` calls of the model

    # 1 Data: independent draws for each split, of points whose classes are known exactly; or the
    # rows of a table, whose features are standardised (datasets/tables.py).

    def load_data(self, config: MoEConfig) -> PointSplits:
        """Return points (N, D) and labels (N,) for each split."""
        data = generated_points(config) if config.is_generated else table_points(config)
        require_every_class(config, data)
        return data

    def data_bytes(self, config: MoEConfig) -> int:
        """Return the size of generated points and labels, three float32 each."""
        if not config.is_generated:
            return 0
        return 12 * (config.num_train + config.num_validation + config.num_test)

    # 2 Model: a stack of mixtures that share no weight, one for each restart.

    def build_stack(
        self, config: MoEConfig, data: PointSplits, stack: tuple[int, ...]
    ) -> MixtureOfExperts:
        """Return R mixtures, with `stack=(R,)`; the one that is kept has `stack=()`.

        The gate may have a hidden layer, and route each point to its top k experts only, with noise
        or a bias that balances their load (models/moe.py).
        """
        return MixtureOfExperts(**self.network_arguments(config, data), stack=stack)

    def network_arguments(self, config: MoEConfig, data: PointSplits) -> dict[str, Any]:
        """Return the arguments of `MixtureOfExperts`, which are stored with the model."""
        return {
            "in_features": len(data.features),
            "num_classes": len(data.classes),
            "num_experts": config.num_experts,
            "mixing": config.mixing,
            "expert_hidden": config.expert_hidden,
            "gate": config.gate,
            "gate_hidden": config.gate_hidden,
            "top_k": config.top_k,
            "routing": config.routing,
            "routing_noise": config.routing_noise,
            "bias_update_rate": config.bias_update_rate,
            "temperature": config.temperature,
        }

    # 3 Training: every restart has its own loss, gradient and metrics.

    def loss(self, config: MoEConfig, model: Any, batch: tuple[Any, ...]) -> StepOutput:
        """Return the loss of a batch: points (B, D), labels (B,). Metrics are (R,).

        The last epochs lower the zero-one loss, whose sharpness their batches have: it counts the
        errors, where the likelihood asks for probabilities. The loss that is logged stays the same.
        """
        points, labels, *sharpness = batch
        mixture = model.mix(points)
        logits = mixture.combine(config.mixing)  # (R, B), or (R, C, B) of C > 2 classes
        if config.loss == "competitive":
            loss = moe_losses.competitive_loss(mixture, labels)  # experts compete for each point
        else:
            loss = moe_losses.cross_entropy(logits, labels)
        metrics = {"loss": loss, "accuracy": accuracy(logits, labels)}
        if not model.training:
            metrics["objective"] = objective(config, loss, logits, labels)
            metrics["hard_routing_accuracy"] = accuracy(mixture.top1_logits, labels)
            metrics |= routing_metrics(mixture, config.top_k)
        if sharpness:
            loss = smoothed_zero_one_loss(logits, labels, *sharpness)
        # Penalties that even out the load and keep the gate's logits small; not in the logged loss.
        if config.balance_loss_weight > 0:
            balance = moe_losses.balance_loss(mixture, config.top_k, config.balance_loss)
            loss = loss + config.balance_loss_weight * balance
        if config.z_loss_weight > 0:
            loss = loss + config.z_loss_weight * moe_losses.z_loss(mixture.gate_logits)
        # The restarts share no parameter: the gradient of the sum is the gradient of each.
        # Expectation maximisation needs none: no parameter asks for it, and the sum is a leaf.
        return StepOutput(loss.sum().requires_grad_(), metrics, len(labels))

    # With `training=em`, there are no gradients: an epoch is an iteration, on all points at once.

    def build_model(self, config: MoEConfig, data: PointSplits) -> MixtureOfExperts:
        """Return R mixtures, perhaps as expectation maximisation leaves them."""
        model = self.build_stack(config, data, (config.restarts,))
        model.requires_grad_(config.training != "em")
        if config.training == "em_then_gradient" and not model.experts.weight.is_meta:
            points, labels = data.train
            expectation_maximisation(model, points, labels, config.em_iterations)
        return model

    def training_batches(self, config: MoEConfig, data: PointSplits, epoch: int) -> Batches:
        """Return the batches of an epoch; in expectation maximisation, all points."""
        if config.training == "em":
            return TensorBatches(*data.train, batch_size=len(data.train.points), shuffle=False)
        return super().training_batches(config, data, epoch)

    def optimizer(self, config: MoEConfig, model: Any) -> torch.optim.Optimizer:
        """Return AdamW, or expectation maximisation."""
        if config.training == "em":
            return ExpectationMaximisation(model)
        return super().optimizer(config, model)

    def step(self, optimizer: torch.optim.Optimizer, batch: tuple[Any, ...]) -> None:
        """Take a step; expectation maximisation needs the points themselves."""
        if isinstance(optimizer, ExpectationMaximisation):
            optimizer.step(*batch)
        else:
            optimizer.step()

    def snapshot_epochs(self, config: MoEConfig) -> set[int]:
        """Return up to 40 epochs, early ones more densely, for animation and responsibilities."""
        if not config.is_generated or not (config.animation or config.training == "em"):
            return set()
        return {round(epoch) for epoch in np.geomspace(1, config.num_epochs, 40)}

    # 4 Evaluation: on the test split, beside logistic regression, an MLP of as many weights, and
    # one of as many as classify a single point. They have the same recipe and the same data.

    @torch.inference_mode()
    def predictions(self, trained: Trained, split: Points) -> Predictions:
        """Return what the mixture predicts for points."""
        points, labels = split
        logits = trained.model.mix(points).combine(trained.config.mixing)
        probabilities = moe_losses.class_probabilities(logits, labels).numpy()
        return Predictions(labels.numpy().astype(int), probabilities, trained.data.classes)

    def evaluate(self, config: MoEConfig, trained: Trained, test: Points) -> MixtureEvaluation:
        """Evaluate mixture and baselines."""
        data, (points, labels) = trained.data, test
        with torch.inference_mode():
            mixture = trained.model.mix(points)
            logits = mixture.combine(config.mixing)
        routing = scalars(routing_metrics(mixture, config.top_k))
        num_parameters = sum(p.numel() for p in trained.model.parameters())
        hidden_units = same_size(num_parameters, data)
        predictions = self.predictions(trained, test)
        assigned = mixture.weights.argmax(0).numpy()
        metrics = {
            **predictions.metrics(),
            "test/accuracy": accuracy(logits, labels).item(),
            "test/loss": moe_losses.cross_entropy(logits, labels).item(),
            "test/hard_routing_accuracy": accuracy(mixture.top1_logits, labels).item(),
            **{f"test/{name}": value for name, value in routing.items()},
            "test/logistic_regression_accuracy": train_baseline(0, config, trained),
            "test/perceptron_accuracy": train_baseline(hidden_units, config, trained),
            # How much the assigned expert tells of the class.
            "test/mutual_information_bits": mutual_info_score(predictions.labels, assigned)
            / math.log(2),
        }
        headline = (
            f"{plural(config.num_experts, 'expert')} on {data.name}, mixing {config.mixing}: "
            f"test accuracy {metrics['test/accuracy']:.4f}, "
            f"with hard (top-1) routing {metrics['test/hard_routing_accuracy']:.4f}; "
            f"logistic regression {metrics['test/logistic_regression_accuracy']:.4f}, "
            f"MLP with {plural(hidden_units, 'hidden unit')} "
            f"{metrics['test/perceptron_accuracy']:.4f}"
        )
        num_active = trained.model.num_active_parameters()
        if num_active < num_parameters and (config.top_k or not config.is_generated):
            active_units = same_size(num_active, data)
            active = train_baseline(active_units, config, trained)
            metrics["test/active_size_perceptron_accuracy"] = active
            headline += (
                f", with {active_units} (the size of gate and assigned experts) {active:.4f}"
            )
        return MixtureEvaluation(
            metrics=metrics,
            headline=f"{headline}.",
            tables={"accuracy_by_class": predictions.by_class()},
            predictions=predictions,
            mixture=mixture,
        )

    # 5 Figures: the surface, what each expert and the gate do, how training went.

    def figures(
        self, config: MoEConfig, trained: Trained, evaluation: MixtureEvaluation
    ) -> Iterator[NamedFigure]:
        """Draw the mixture over the plane."""
        if not config.is_generated:
            yield from self.table_figures(trained, evaluation)
            return
        points, labels = (tensor.numpy() for tensor in trained.data.test)
        plane = figures.Plane.around(points)
        truth = toy_dataset(config.data).label(torch.from_numpy(plane.finer().points)).numpy()
        scene = figures.Scene(plane, truth, points, labels)
        with torch.inference_mode():
            mixture = trained.model.mix(torch.from_numpy(plane.points))
        probability = mixture.combine(config.mixing).sigmoid().numpy()
        gate, expert_logits = mixture.weights.T.numpy(), mixture.expert_logits.T.numpy()
        metrics = evaluation.metrics
        count = plural(config.num_experts, "expert")
        title = f"{count}: test accuracy {metrics['test/accuracy']:.3f}"

        yield "data", figures.data(scene)
        yield "decision_surface", figures.decision_surface(scene, probability, title)
        hard_accuracy = metrics["test/hard_routing_accuracy"]
        yield "experts", figures.experts(scene, gate, expert_logits, hard_accuracy)
        yield "gate", figures.gate(scene, gate)
        test_gate = evaluation.mixture.weights.T.numpy()
        yield "expert_usage_by_class", figures.expert_usage_by_class(test_gate, labels)
        entropy = torch.special.entr(mixture.gate).sum(0).numpy()
        yield "gate_entropy", routing_figures.gate_entropy(scene, entropy, config.num_experts)
        if config.gate == "hierarchical":
            share = moe_losses.expert_load(evaluation.mixture, config.top_k).tolist()
            yield "gating_tree", tree_figure.gating_tree(scene, mixture.gate.T.numpy(), share)
        yield "reliability", classification.reliability(*evaluation.predictions.reliability)
        yield from self.training_figures(trained.history)
        if config.training == "em":
            part = figures.Scene(plane, truth, points[:1500], labels[:1500])
            mixtures = self.mixtures_by_epoch(config, trained.data, trained.history)
            first = stacked.select_from_stack(
                trained.untrained.state_dict(), best_restart(trained.history)
            )
            mixtures[0] = self.restore_model(config, trained.data, first)
            mixtures[trained.history.best_epoch] = trained.model
            yield "responsibilities", responsibilities.by_iteration(part, mixtures)
        if config.animation:
            surfaces = self.surfaces(config, trained, scene.plane.coarser().points)
            frames = figures.learning(scene, surfaces)
            yield "learning", Animation(frames, milliseconds=120, epochs=[*surfaces])

    def table_figures(
        self, trained: Trained, evaluation: MixtureEvaluation
    ) -> Iterator[NamedFigure]:
        """Draw the mixture over a plane through the rows of a table, and its weights."""
        data, predictions = trained.data, evaluation.predictions
        points, labels = data.test.points.numpy(), predictions.labels
        view = table_figures.View.of(data.train.points.numpy(), data.features)
        with torch.inference_mode():
            mixture = trained.model.mix(torch.from_numpy(view.points))
        logits = mixture.combine(trained.config.mixing)
        probabilities = moe_losses.class_probabilities(logits, data.test.labels).numpy()
        gate, test_gate = mixture.weights.T.numpy(), evaluation.mixture.weights.T.numpy()
        surface = table_figures.decision_surface(view, probabilities, points, predictions)
        yield "decision_surface", surface
        experts = table_figures.expert_regions(view, gate, points, labels, data.classes)
        yield "experts", experts
        yield "gate", table_figures.gate_probabilities(view, gate)
        if not trained.config.expert_hidden:
            weights = trained.model.expert_weights().numpy()
            picture = table_figures.expert_weights(weights, data.features, data.classes)
            yield "expert_weights", picture
        usage = table_figures.expert_usage_by_class(test_gate, labels, data.classes)
        yield "expert_usage_by_class", usage
        assigned, num_experts = test_gate.argmax(1), test_gate.shape[1]
        bits = evaluation.metrics["test/mutual_information_bits"]
        flow = routing_figures.class_to_expert(assigned, labels, data.classes, num_experts, bits)
        yield "class_to_expert", flow
        if trained.config.data == "digits":
            images = (data.test.points * data.std + data.mean).view(-1, 8, 8).numpy()
            picture = routing_figures.mean_images(images, assigned, labels, num_experts)
            yield "expert_images", picture
        yield "confusion", classification.confusion(predictions.confusion, data.classes)
        yield from self.training_figures(trained.history)

    def training_figures(self, history: History) -> Iterator[NamedFigure]:
        """Draw the training of the restart that was kept."""
        restart = best_restart(history)
        share = history.stacked("val/expert_share")[:, restart]
        usage = routing_figures.usage_over_epochs(share, history.best_epoch)
        yield "expert_usage_over_epochs", usage
        yield "curves", figures.training_curves(history, restart)

    @torch.inference_mode()
    def surfaces(
        self, config: MoEConfig, trained: Trained, points: np.ndarray
    ) -> dict[int, np.ndarray]:
        """Return P(class 1) at points (N, 2) by epoch, up to the one that was kept: (N,) each."""
        mixtures = self.mixtures_by_epoch(config, trained.data, trained.history)
        mixtures[trained.history.best_epoch] = trained.model
        inputs = torch.from_numpy(points)
        return {epoch: mixture(inputs).sigmoid().numpy() for epoch, mixture in mixtures.items()}

    def mixtures_by_epoch(
        self, config: MoEConfig, data: PointSplits, history: History
    ) -> dict[int, MixtureOfExperts]:
        """Return the restart that was kept as it was after earlier epochs, where they are kept."""
        restart = best_restart(history)
        return {
            epoch: self.restore_model(config, data, stacked.select_from_stack(stack, restart))
            for epoch, stack in history.snapshots.items()
            if epoch < history.best_epoch
        }


EXPERIMENT = MixtureOfLinearExperts()
