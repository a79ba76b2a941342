"""Cats and dogs: a convolutional network learns from 2,000 photographs to tell them apart.

A network memorises so few photographs within minutes. To recognise cats, rather than these cats, it
must never see the same image twice: every batch holds views of the photographs, copies that are
cropped, rotated, flipped and recoloured at random, on the device.

Letters: B photographs in a batch, N in a split, S pixels of width and height, V those of a view,
K classes.
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from datasets.augmentation import Augmentation, Mixing
from datasets.choices import Split
from datasets.photographs import Photographs
from experiments.cnn import features, figures
from experiments.cnn.config import CNNConfig
from experiments.data import load_photographs
from experiments.ensemble.teacher import TaughtExperiment
from harness.errors import UserError
from harness.evaluation import ClassifierEvaluation, Predictions
from harness.experiment import ImagesByEpoch, NamedFigure, Splits, Trained
from harness.figures import classification, training
from harness.training.batches import MappedBatches, TensorBatches
from harness.training.metrics import StepOutput, confusion_matrix, fraction
from models.cnn import ImageClassifier, PlainCNN, ResidualCNN, SeparableCNN
from models.pretrained import PretrainedCNN, WeightsUnavailableError


@dataclasses.dataclass(frozen=True, kw_only=True)
class PhotographSplits(Splits[Photographs]):
    """Images (N, 3, S, S) uint8, labels (N,) and names of each split."""

    classes: tuple[str, ...]
    """Names of the K classes."""


class CatsAndDogs(TaughtExperiment[CNNConfig]):
    """Tell photographs of cats from photographs of dogs, of which there are only 2,000.

    A residual network trained from scratch classifies 0.90 of the test photographs correctly, and
    0.94 if it is deeper and sees more pixels for longer; a backbone pretrained on ImageNet, 0.995.
    """

    config_class = CNNConfig

    # 1 Data: photographs are decoded once; as uint8, 2,000 of 112 pixels take 75 MB.

    def load_data(self, config: CNNConfig) -> PhotographSplits:
        """Load the photographs, which are downloaded and decoded once.

        The archive has 2,000 for training, and 1,000 that validation and test share by halves.
        One's own photographs, of any classes, are split likewise (datasets/image_folders.py).
        """
        photographs = load_photographs(config)
        count = len(photographs.train.labels)
        if config.batch_size > count:
            exceeds = f"exceeds the {count} training photographs"
            raise UserError(f"batch_size={config.batch_size}: {exceeds}")
        if config.is_frozen:  # what it computes of a photograph is the same in every epoch
            network = self.network(config, len(photographs.classes))
            photographs = features.with_features(config, network, photographs)
        # Of the files: the same photographs are the same data at any size.
        fingerprint = photographs.fingerprint[:20]
        return PhotographSplits(
            name={"download": "cats_and_dogs"}.get(config.data, Path(config.data).stem),
            train=photographs.train,
            validation=photographs.validation,
            load_test=lambda: photographs.test,
            fingerprints={split: f"{fingerprint}-{split}" for split in get_args(Split)},
            counts=photographs.counts,
            skipped=photographs.skipped,
            classes=photographs.classes,
        )

    # 2 Model: stages of convolutions, each at half the resolution and with up to four times the
    # channels of the first, then average pooling and a linear classifier (models/cnn.py).

    def build_model(self, config: CNNConfig, data: PhotographSplits) -> ImageClassifier:
        """Return the network, from images (B, 3, S, S) in [0, 1] to logits (B, K)."""
        return self.network(config, len(data.classes))

    def network(self, config: CNNConfig, num_classes: int) -> ImageClassifier:
        """Return a network of the configured architecture with K logits."""
        top: dict[str, Any] = {"dropout_rate": config.dropout_rate, "num_classes": num_classes}
        if config.architecture == "pretrained":
            try:
                return PretrainedCNN(backbone=config.backbone, frozen=config.frozen, **top)
            except WeightsUnavailableError as error:
                raise UserError(f"backbone={config.backbone}: {error}") from None
        networks = {"plain": PlainCNN, "residual": ResidualCNN, "separable": SeparableCNN}
        return networks[config.architecture](
            width=config.width, depth=config.depth, num_stages=config.num_stages, **top
        )

    # 3 Training: every epoch sees views of the photographs that no epoch has seen before.

    def view_size(self, config: CNNConfig, epoch: int) -> int:
        """Return V, the pixels of an epoch's views, a multiple of 8.

        Small views cost little, and the first epochs need no detail (progressive resizing, Howard
        2018). Views stay smaller than the photographs of validation, because a crop magnifies what
        it shows: objects then have the same size in both (Touvron et al. 2019).
        """
        progress = (epoch - 1) / max(1, config.num_epochs - 1)
        initial, final = config.initial_resolution, config.final_resolution
        resolution = initial + progress * (final - initial)
        return max(config.min_image_size, 8 * round(resolution * config.pixels / 8))

    def training_batches(
        self, config: CNNConfig, data: PhotographSplits, epoch: int
    ) -> MappedBatches:
        """Return shuffled batches: views (B, 3, V, V), and probabilities of the classes (B, K).

        Of a frozen backbone, features of whole photographs (B, F) take the place of views.
        With balanced class weights also the weights of the samples (B,): N / (K N_k) for class k,
        which N_k of the N photographs show, so that rare classes count as much as frequent ones.
        """
        augment = Augmentation(
            output_size=self.view_size(config, epoch),
            flip_probability=config.flip_probability,
            crop_min_area=config.crop_min_area,
            crop_max_aspect_ratio=config.crop_max_aspect_ratio,
            rotation_degrees=config.rotation_degrees,
            color_jitter=config.color_jitter,
            blur_sigma=config.blur_sigma,
            erasing_probability=config.erasing_probability,
        )
        mix = Mixing(config.mixup_alpha, config.cutmix_alpha, len(data.classes))
        inputs, labels = data.train.inputs, data.train.labels
        shuffled = TensorBatches(inputs, labels, batch_size=config.batch_size, shuffle=True)

        def views(inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
            if config.is_frozen:
                inputs = features.flip_at_random(inputs, config.flip_probability)
                return inputs, F.one_hot(labels, len(data.classes)).float()
            return mix(augment(inputs), labels)

        if config.class_weights == "none":
            return MappedBatches(shuffled, views)
        counts = F.one_hot(labels, len(data.classes)).sum(0)  # (K,)
        weights = len(labels) / (len(data.classes) * counts.float())

        def weighted(inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            inputs, targets = views(inputs, labels)
            return inputs, targets, targets @ weights

        return MappedBatches(shuffled, weighted)

    def validation_batches(self, config: CNNConfig, data: PhotographSplits) -> MappedBatches:
        """Return whole photographs in order: images (B, 3, S, S) in [0, 1], and labels (B,)."""
        in_order = TensorBatches(data.validation.inputs, data.validation.labels, batch_size=100)
        return MappedBatches(in_order, lambda inputs, labels: (features.select(inputs), labels))

    def loss(
        self, config: CNNConfig, model: ImageClassifier, batch: tuple[Tensor, ...]
    ) -> StepOutput:
        """Return cross-entropy and accuracy; labels are smoothed in training only."""
        inputs, targets, *weights = batch
        logits = model(inputs)
        if model.training:
            smoothing = config.label_smoothing
            if weights:
                losses = F.cross_entropy(
                    logits, targets, label_smoothing=smoothing, reduction="none"
                )
                loss = (weights[0] * losses).mean()
            else:
                loss = F.cross_entropy(logits, targets, label_smoothing=smoothing)
            labels = targets.argmax(-1)  # of a mixed view, the class of the greater part
        else:
            loss, labels = F.cross_entropy(logits, targets), targets
        predicted = logits.argmax(-1)
        metrics = {"loss": loss, "accuracy": fraction(predicted == labels)}
        if not model.training and logits.shape[1] <= classification.MAX_NUMBERED:
            metrics["confusion"] = confusion_matrix(labels, predicted, logits.shape[1])
        return StepOutput(loss, metrics, len(labels))

    # 4 Evaluation: on whole photographs, and on their mirror images as well.

    @torch.inference_mode()
    def predict(
        self, model: ImageClassifier, photographs: Photographs, *, flip: bool = False
    ) -> np.ndarray:
        """Return the probabilities of the classes, (N, K), for photographs or mirror images."""
        probabilities = []
        for (batch,) in TensorBatches(photographs.inputs, batch_size=100):
            probabilities.append(model(features.select(batch, flip=flip)).softmax(-1))
        return torch.cat(probabilities).numpy()

    def predictions(self, trained: Trained, split: Photographs) -> Predictions:
        """Return what the network predicts for photographs."""
        probabilities = self.predict(trained.model, split)
        return Predictions(split.labels.numpy(), probabilities, trained.data.classes)

    def evaluate(
        self, config: CNNConfig, trained: Trained, test: Photographs
    ) -> ClassifierEvaluation:
        """Evaluate the network, also with test-time augmentation: the mean over both flips."""
        model, validation, classes = trained.model, trained.data.validation, trained.data.classes
        predictions = self.predictions(trained, test)
        probabilities = predictions.probabilities
        metrics = predictions.metrics()
        num_parameters = sum(parameter.numel() for parameter in model.parameters())
        headline = (
            f"{config.architecture} network, {num_parameters:,} parameters, "
            f"{config.pixels} pixels: test accuracy {metrics['test/accuracy']:.4f}, "
            f"ROC area {metrics['test/roc_area']:.4f}"
        )
        if config.flip_test_time_augmentation:
            both = probabilities + self.predict(model, test, flip=True)  # twice the mean
            accuracy = Predictions(predictions.labels, both, classes).accuracy
            metrics["test/accuracy_flip_tta"] = accuracy
            headline += f"; with flip test-time augmentation, accuracy {accuracy:.4f}"
            both = self.predict(model, validation) + self.predict(model, validation, flip=True)
            accuracy = Predictions(validation.labels.numpy(), both, classes).accuracy
            metrics["best/val_accuracy_flip_tta"] = accuracy
        table = predictions.table(photograph=test.names)
        shown = range(1, 2) if len(classes) == 2 else range(len(classes))
        for k in shown:  # of two classes, the second says all
            table[f"probability_of_{classes[k]}"] = probabilities[:, k].round(4).tolist()
        tables = {"test_predictions": table, "accuracy_by_class": predictions.by_class()}
        return ClassifierEvaluation(
            metrics=metrics, headline=f"{headline}.", tables=tables, predictions=predictions
        )

    # 5 Figures: the data, training, the predictions, and what the network responds to.

    def figures(
        self, config: CNNConfig, trained: Trained, evaluation: ClassifierEvaluation
    ) -> Iterator[NamedFigure]:
        """Draw what is true of any classifier, then photographs with their predictions."""
        test, predictions = trained.data.test, evaluation.predictions
        photos = figures.to_hwc(test.images)
        if not config.is_frozen:
            batches = self.training_batches(config, trained.data, config.num_epochs)
            views, targets, *_ = next(iter(batches))
            augmented = figures.to_hwc((255 * views[:18]).round().byte())
            drawn = figures.augmented_batch(augmented, targets[:18].numpy(), trained.data.classes)
            yield "augmented", drawn
        curves, unit = trained.history.as_curves(), "nats per photograph"
        note = "" if config.is_frozen else "training: on augmented photographs, which are harder"
        yield "curves", training.curves(**curves, loss_unit=unit, note=note)
        yield "confusion", classification.confusion(predictions.confusion, predictions.classes)
        yield "roc", classification.roc_curves(*predictions)
        yield "reliability", classification.reliability(*predictions.reliability)
        yield "misclassified", figures.misclassified(photos, predictions)
        yield "least_confident", figures.least_confident(photos, predictions)
        yield from figures.inspect(trained.model, test, predictions, trained.data.train)

    def images(self, config: CNNConfig, trained: Trained) -> ImagesByEpoch:
        """Draw the confusion matrix on the validation split as training goes on."""
        names, count = trained.data.classes, len(trained.data.validation.labels)
        return classification.confusion_by_epoch(trained.history, names, count, num_epochs=8)


EXPERIMENT = CatsAndDogs()
