"""Cats against dogs: a convolutional network learns from 2,000 photographs what tells them apart.

    python -m experiments.cnn                                   a residual network, from scratch
    python -m experiments.cnn --architecture plain              the lesson's first network
    python -m experiments.cnn --data drawn                      without network: drawn animals
    python -m experiments.cnn --architecture pretrained         what ImageNet has taught already

So few photographs are learnt by heart in minutes. What makes a network see cats rather than these
cats is that it never sees the same picture twice: each batch is cropped, turned, mirrored and
recoloured anew, on the device, from photographs that were decoded once.
"""

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Le, Lt
from matplotlib.figure import Figure
from pydantic import model_validator
from pydantic.dataclasses import dataclass
from sklearn.decomposition import PCA
from sklearn.metrics import log_loss
from torch import Tensor, nn

from datasets.augmentation import Augmentation, Mixing, as_float
from datasets.cats_and_dogs import CLASSES, Collection, Photographs
from datasets.splits import Split
from experiments.data import PhotographsConfig, collection
from experiments.figures import classification, training
from experiments.figures import cnn as figures
from experiments.harness import scores
from experiments.harness.batches import MappedBatches, TensorBatches
from experiments.harness.config import (
    STRICT,
    Count,
    Fraction,
    NotNegative,
    Positive,
    TrainingConfig,
)
from experiments.harness.device import Hardware
from experiments.harness.errors import UserError
from experiments.harness.experiment import Experiment, Learnt
from experiments.harness.launch import launch
from experiments.harness.loop import Callback, fit
from experiments.harness.metrics import Outcome, size_of
from experiments.harness.optimizers import OptimizerName, build_optimizer
from experiments.harness.tracking import Run
from models.cnn import PhotographClassifier, PlainCNN, ResidualCNN, SeparableCNN
from models.inspection import activations, grad_cam
from models.pretrained import Backbone, PretrainedCNN, WeightsUnavailableError

DOG = CLASSES.index("dogs")
"""The class whose probability scores are about."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class CNNConfig(PhotographsConfig, TrainingConfig):
    """Train a convolutional network to tell photographs of cats from photographs of dogs."""

    family: ClassVar[str] = "cnn"
    entry_point: ClassVar[str] = "cnn"
    tiny: ClassVar[Mapping[str, Any]] = {
        "data": "drawn",
        "image_size": 32,
        "width": 4,
        "num_epochs": 1,
        "batch_size": 100,
    }
    small: ClassVar[Mapping[str, Any]] = {"data": "drawn", "image_size": 64, "num_epochs": 24}

    num_epochs: Count = 50
    batch_size: Annotated[int, Ge(2)] = 32
    learning_rate: Positive = 5.5e-3
    weight_decay: NotNegative = 0.14
    lr_warmup_fraction: Fraction = 0.1
    weight_average_decay: Annotated[float, Ge(0), Lt(1)] = 0.995
    architecture: Literal["plain", "residual", "separable", "pretrained"] = "residual"
    """Kind of network."""
    width: Count = 32
    """Channels of the first stage; later stages have multiples of it (not for pretrained)."""
    depth: Count = 1
    """Convolutions or blocks per stage (not for pretrained)."""
    num_stages: Annotated[int, Ge(2), Le(6)] = 4
    """Stages, each at half the resolution of the one before (not for pretrained)."""
    dropout_rate: Annotated[float, Ge(0), Lt(1)] = 0.19
    """Part of the features that is hidden from the classifier in training."""
    backbone: Backbone = "efficientnet_lite0"
    """Which pretrained network (only for pretrained)."""
    frozen: bool = True
    """Leave the backbone as ImageNet has taught it, and train its classifier alone."""
    optimizer: OptimizerName = "muon"
    """Optimiser; SGD has Nesterov's momentum of 0.9; Muon needs half the epochs of AdamW."""
    label_smoothing: Fraction = 0.05
    """Part of each training label that is spread over all classes."""
    first_view: Annotated[float, Gt(0), Le(1)] = 0.5
    """Side of the views that training starts with, as a part of image_size."""
    last_view: Annotated[float, Gt(0), Le(1)] = 0.88
    """Side of the views that training ends with, as a part of image_size."""
    flip_probability: Fraction = 0.5
    """How often a view is mirrored."""
    crop: Annotated[float, Ge(0), Lt(1)] = 0.7
    """Largest part of a photograph's area that a random crop leaves out, before it is stretched."""
    stretch: NotNegative = 0.16
    """Largest change of a crop's width against its height, as a natural logarithm."""
    rotation_degrees: Annotated[float, Ge(0), Le(180)] = 10.0
    """Largest rotation, either way."""
    colour: Fraction = 0.23
    """Largest relative change of brightness, contrast and saturation."""
    blur_sigma: NotNegative = 0.0
    """Largest standard deviation of a Gaussian blur, in pixels."""
    erasing_probability: Fraction = 0.2
    """How often a rectangle of a view is hidden."""
    mixup_alpha: NotNegative = 0.2
    """Mix pairs of views and labels, with shares drawn from Beta(alpha, alpha) (0: no mixing)."""
    cutmix_alpha: NotNegative = 0.0
    """Replace a rectangle of a view by another view's, its area drawn likewise (0: none)."""
    flip_test_time_augmentation: bool = True
    """Also judge the mean of the probabilities for a photograph and its mirror image."""

    @property
    def smallest_size(self) -> int:
        """Pixels that a photograph needs for the last stage to have something to look at."""
        if self.architecture == "pretrained":
            return 32
        # The stem halves the resolution, too, and the separable stages pool over several pixels.
        further = {"plain": 0, "residual": 1, "separable": 2}[self.architecture]
        return int(2 ** (self.num_stages + further))

    @model_validator(mode="after")
    def _agree(self) -> "CNNConfig":
        pretrained = self.architecture == "pretrained"
        for name in ("width", "depth", "num_stages") if pretrained else ("backbone", "frozen"):
            if name in self.changes():
                raise ValueError(
                    f"{name}={getattr(self, name)}: means nothing to a {self.architecture} network"
                )
        if self.image_size < self.smallest_size:
            raise ValueError(
                f"image_size={self.image_size}: a {self.architecture} network needs "
                f"{self.smallest_size}"
            )
        return self


@dataclasses.dataclass(frozen=True, kw_only=True)
class LearntNetwork(Learnt):
    """The network at its best epoch, and what it looked at."""

    model: PhotographClassifier
    collection: Collection


def learn(
    config: CNNConfig,
    hardware: Hardware,
    run: Run | None = None,
    callbacks: Sequence[Callback] = (),
) -> LearntNetwork:
    """Train a network on the training photographs, keep its best epoch by validation accuracy."""
    # Data: photographs that were decoded once, in the device's memory.
    photographs = prepare(config)
    train = on_device(photographs.train, hardware)
    validation = on_device(photographs.validation, hardware)
    if run is not None:
        log_split(photographs, "train", run)
        log_split(photographs, "validation", run)
        log_skipped(photographs, run)

    # Model.
    model = hardware.prepare(build(config))

    # Training: every epoch sees views that it has never seen before.
    history = fit(
        model,
        config,
        train=partial(training_batches, config, train),
        validation=judging_batches(validation),
        loss_function=partial(classification_loss, config),
        optimizer=build_optimizer(config.optimizer, model, config),
        hardware=hardware,
        monitor="val/accuracy",
        maximise=True,
        callbacks=callbacks,
        run=run,
        title=f"{config.architecture} network",
    )
    # A copy, which leaves the device and whatever was compiled for it behind.
    best = copy.deepcopy(model).cpu().eval()
    example = as_float(photographs.validation.images[:2]).contiguous().numpy()
    return LearntNetwork(
        model=best,
        history=history,
        example=example,
        meaning={"classes": CLASSES, "image_size": config.image_size},
        collection=photographs,
    )


def judge(
    config: CNNConfig, hardware: Hardware, learnt: LearntNetwork, run: Run
) -> dict[str, float]:
    """Measure the chosen network on the test photographs, and picture what it sees in them."""
    # Evaluation: the test photographs are looked at here, and nothing is chosen after it.
    test = learnt.collection.test
    log_split(learnt.collection, "test", run)
    probabilities = predict(learnt.model, test)
    metrics = measure(config, learnt, probabilities)
    run.log_metrics(metrics)
    log_answers(test, probabilities, run)
    run.describe(describe(config, metrics))

    # Pictures.
    draw_pictures(config, learnt, probabilities, run)
    return metrics


def prepare(config: CNNConfig) -> Collection:
    """Load the photographs, downloaded and decoded if they are not yet.

    Raises:
        UserError: there are none, or fewer than a batch takes.

    """
    photographs = collection(config)
    count = len(photographs.train.labels)
    if config.batch_size > count:
        raise UserError(f"batch_size={config.batch_size}: exceeds the {count} training photographs")
    return photographs


EXPERIMENT = Experiment(CNNConfig, learn, judge, prepare)


def log_split(photographs: Collection, split: Split, run: Run) -> None:
    """Log what the run is trained on or judged by; at any size, photographs are the same data."""
    images, labels, _ = getattr(photographs, split)
    fingerprint = f"{photographs.fingerprint[:20]}-{split}"
    run.log_dataset("cats_and_dogs", split, images.numpy(), labels.numpy(), fingerprint)


def log_skipped(photographs: Collection, run: Run) -> None:
    """Log what could not be read, and why."""
    if photographs.skipped:
        names, reasons = zip(*photographs.skipped, strict=True)
        run.log_table("skipped", {"photograph": names, "reason": reasons})


def build(config: CNNConfig) -> PhotographClassifier:
    """Build the network that `config` asks for, freshly initialised or pretrained.

    Raises:
        UserError: the weights of a pretrained one cannot be had.

    """
    top: dict[str, Any] = {"dropout_rate": config.dropout_rate, "num_classes": len(CLASSES)}
    networks = {"plain": PlainCNN, "residual": ResidualCNN, "separable": SeparableCNN}
    if config.architecture in networks:
        shape = {"width": config.width, "depth": config.depth, "num_stages": config.num_stages}
        return networks[config.architecture](**shape, **top)
    try:
        return PretrainedCNN(backbone=config.backbone, frozen=config.frozen, **top)
    except WeightsUnavailableError as error:
        raise UserError(f"backbone={config.backbone}: {error}") from None


def on_device(photographs: Photographs, hardware: Hardware) -> Photographs:
    """Put photographs where the arithmetic is: 2,000 of 128 pixels take 98 MB."""
    images, labels, names = photographs
    return Photographs(images.to(hardware.device), labels.to(hardware.device), names)


def training_batches(config: CNNConfig, train: Photographs, epoch: int) -> MappedBatches:
    """Shuffle, and change each batch at random: views (B, 3, V, V) with parts of classes (B, 2)."""
    augment = Augmentation(
        view_size=view_size(config, epoch),
        flip_probability=config.flip_probability,
        crop=config.crop,
        stretch=config.stretch,
        rotation_degrees=config.rotation_degrees,
        colour=config.colour,
        blur_sigma=config.blur_sigma,
        erasing_probability=config.erasing_probability,
    )
    mix = Mixing(config.mixup_alpha, config.cutmix_alpha, len(CLASSES))
    shuffled = TensorBatches(train.images, train.labels, batch_size=config.batch_size, shuffle=True)
    return MappedBatches(shuffled, lambda images, labels: mix(augment(images), labels))


def view_size(config: CNNConfig, epoch: int) -> int:
    """Return the pixels of an epoch's views, a multiple of 8.

    Small views cost little, and the first epochs need no detail (Howard 2018). They are never as
    large as the photographs that are judged, because a crop magnifies what it shows: what is seen
    in training and afterwards has the same size this way (Touvron et al. 2019).
    """
    progress = (epoch - 1) / max(1, config.num_epochs - 1)
    part = config.first_view + progress * (config.last_view - config.first_view)
    return max(config.smallest_size, 8 * round(part * config.image_size / 8))


def judging_batches(photographs: Photographs) -> MappedBatches:
    """Return whole photographs in order, (B, 3, S, S), with labels (B,)."""
    in_order = TensorBatches(photographs.images, photographs.labels, batch_size=100)
    return MappedBatches(in_order, lambda images, labels: (as_float(images), labels))


def classification_loss(
    config: CNNConfig, model: PhotographClassifier, batch: tuple[Tensor, Tensor]
) -> Outcome:
    """Return cross-entropy and accuracy: labels are smoothed in training, and there only."""
    images, targets = batch
    logits = model(images)
    if model.training:
        loss = F.cross_entropy(logits, targets, label_smoothing=config.label_smoothing)
        right = logits.argmax(-1) == targets.argmax(-1)  # of mixed views, the greater part counts
        metrics = {"loss": loss, "accuracy": right.double().mean()}
    else:
        loss = F.cross_entropy(logits, targets)
        metrics = {"loss": loss, "accuracy": (logits.argmax(-1) == targets).double().mean()}
    return Outcome(loss, metrics, len(targets))


@torch.inference_mode()
def predict(
    model: PhotographClassifier, photographs: Photographs, *, mirrored: bool = False
) -> np.ndarray:
    """Return the classes' probabilities, (N, 2), for photographs or for their mirror images."""
    batches = judging_batches(photographs)
    parts = [model(x.flip(-1) if mirrored else x).softmax(-1) for x, _ in batches]
    return torch.cat(parts).numpy()


def measure(
    config: CNNConfig, learnt: LearntNetwork, probabilities: np.ndarray
) -> dict[str, float]:
    """Measure what the network says of the test photographs, (N, 2), and the network."""
    labels = learnt.collection.test.labels.numpy()
    best = learnt.history.best
    metrics = {
        "best/val_accuracy": best["val/accuracy"],
        "best/val_loss": best["val/loss"],
        "best/epoch": learnt.history.best_epoch,
        "test/accuracy": accuracy(probabilities, labels),
        "test/loss": log_loss(labels, probabilities, labels=range(len(CLASSES))),
        "test/roc_area": scores.roc_area(labels, probabilities[:, DOG]),
        "test/calibration_error": scores.reliability(probabilities, labels).calibration_error,
        **size_of(learnt.model, torch.from_numpy(learnt.example)),
    }
    if config.flip_test_time_augmentation:
        model, validation, test = learnt.model, learnt.collection.validation, learnt.collection.test
        both = probabilities + predict(model, test, mirrored=True)
        metrics["test/accuracy_flip_tta"] = accuracy(both, labels)
        both = predict(model, validation) + predict(model, validation, mirrored=True)
        metrics["best/val_accuracy_flip_tta"] = accuracy(both, validation.labels.numpy())
    return metrics


def accuracy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the fraction of photographs whose most probable class is theirs."""
    return float((probabilities.argmax(-1) == labels).mean())


def log_answers(test: Photographs, probabilities: np.ndarray, run: Run) -> None:
    """Log what was said of each test photograph, as a table to sort and filter."""
    actual, said = test.labels.numpy(), probabilities.argmax(-1)
    columns = {
        "photograph": test.names,
        "actual": [CLASSES[label] for label in actual],
        "predicted": [CLASSES[label] for label in said],
        "probability_of_dogs": probabilities[:, DOG].round(4).tolist(),
        "right": (actual == said).tolist(),
    }
    run.log_table("test_answers", columns)


def describe(config: CNNConfig, metrics: dict[str, float]) -> str:
    """Return the headline of a run."""
    flip = metrics.get("test/accuracy_flip_tta")
    return (
        f"{config.architecture} network, {metrics['num_parameters']:,.0f} parameters, "
        f"{config.image_size} pixels: test accuracy {metrics['test/accuracy']:.4f}"
        + (f" ({flip:.4f} with flip test-time augmentation)" if flip is not None else "")
        + f", ROC area {metrics['test/roc_area']:.4f}."
    )


def draw_pictures(
    config: CNNConfig, learnt: LearntNetwork, probabilities: np.ndarray, run: Run
) -> None:
    """Log every picture of the network that was chosen."""
    test, model = learnt.collection.test, learnt.model
    labels = test.labels.numpy()
    judged = figures.Judged(as_pictures(test.images), labels, probabilities, CLASSES)

    views, shares = next(iter(training_batches(config, learnt.collection.train, config.num_epochs)))
    augmented = as_pictures((255 * views[:24]).round().byte())
    run.log_figure("augmented", figures.augmented_batch(augmented, shares[:24].numpy(), CLASSES))
    curves = training.curves(
        **learnt.history.as_curves(),
        loss_unit="nats per photograph",
        note="training: measured on augmented photographs, which are harder",
    )
    run.log_figure("curves", curves)
    counts = scores.confusion_matrix(labels, judged.predictions, len(CLASSES))
    run.log_figure("confusion", classification.confusion(counts, CLASSES))
    run.log_figure("roc", classification.roc(labels, probabilities[:, DOG], CLASSES[DOG]))
    reliability = scores.reliability(probabilities, labels)
    run.log_figure("reliability", classification.reliability(*reliability))
    run.log_figure("mistakes", figures.mistakes(judged))
    run.log_figure("uncertain", figures.uncertain(judged))

    # Inside the network.
    surest = pick(judged, wrong=False, count=6)
    mistakes = pick(judged, wrong=True, count=6)
    for name, indices in (("right", surest), ("wrong", mistakes)):
        if len(indices):
            picture = draw_activations(model, test, indices[0])
            run.log_figure(f"activations_{name}", picture)
    chosen = np.concatenate([surest, mistakes])
    heat = evidence(model, test.images[chosen])
    run.log_figure("gradcam", figures.gradcam(judged.take(chosen), heat))
    first = next(m for m in model.stages.modules() if isinstance(m, nn.Conv2d))
    run.log_figure("filters", figures.filters(first.weight.detach().numpy()))
    run.log_figure("features", draw_features(model, test, judged.predictions))


def as_pictures(images: Tensor) -> np.ndarray:
    """Return photographs (N, 3, S, S), uint8, as (N, S, S, 3), the way pictures are drawn."""
    return images.permute(0, 2, 3, 1).numpy()


def pick(judged: figures.Judged, *, wrong: bool, count: int) -> np.ndarray:
    """Return the indices of the photographs that the network was surest of, rightly or wrongly."""
    candidates = np.flatnonzero(judged.wrong == wrong)
    return candidates[np.argsort(-judged.confidence[candidates], kind="stable")][:count]


def draw_activations(model: PhotographClassifier, test: Photographs, index: int) -> Figure:
    """Draw what one photograph excites at the end of each stage."""
    image = test.images[index : index + 1]
    layers = activations(model, as_float(image), dict(model.stages.named_children()))
    maps = [(name, output.squeeze(0).numpy()) for name, output in layers.items()]
    return figures.activations(as_pictures(image)[0], maps)


def evidence(model: PhotographClassifier, images: Tensor) -> np.ndarray:
    """Return where the last stage sees each class, (N, 2, H, W), as a part of the strongest."""
    views, last = as_float(images), model.stages[-1]
    maps = [
        grad_cam(model, views, last, torch.full((len(views),), label))
        for label in range(len(CLASSES))
    ]
    heat = torch.stack(maps, dim=1)
    strongest = heat.amax((1, 2, 3), keepdim=True).clamp(min=1e-12)
    return (heat / strongest).numpy()


@torch.inference_mode()
def draw_features(
    model: PhotographClassifier, test: Photographs, predictions: np.ndarray
) -> Figure:
    """Draw the features that the last layer classifies by, along their two widest directions."""
    features = torch.cat([model.features(views) for views, _ in judging_batches(test)]).numpy()
    widest = PCA(n_components=2).fit(features)
    names = [
        f"{which} principal component ({share:.0%} of the variance)"
        for which, share in zip(("first", "second"), widest.explained_variance_ratio_, strict=True)
    ]
    return classification.feature_map(
        widest.transform(features),
        test.labels.numpy(),
        predictions,
        CLASSES,
        f"What the last layer sees: {features.shape[1]} features of the test photographs",
        (names[0], names[1]),
    )


if __name__ == "__main__":
    launch(EXPERIMENT)
