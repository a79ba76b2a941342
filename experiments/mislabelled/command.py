"""Photographs whose label is probably wrong, as a table and a figure."""

import contextlib
from collections import Counter
from collections.abc import Iterator
from pathlib import PurePath
from typing import get_args

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from datasets.choices import Split
from datasets.errors import DataError
from datasets.folders import user_path
from datasets.photographs import PhotographDataset, Photographs
from experiments.cnn import figures
from experiments.cnn.config import CNNConfig
from experiments.cnn.features import with_features
from experiments.cnn.lesson import EXPERIMENT
from experiments.data import load_photographs
from experiments.mislabelled.confident_learning import ranked, suggested_labels
from experiments.mislabelled.config import MislabelledConfig
from harness import signals
from harness.errors import UserError
from harness.evaluation import Predictions
from harness.figures.classification import note
from harness.figures.letters import short
from harness.tracking.run import printable
from harness.wording import plural

SHOWN = 18
"""Rows of the table that are printed and drawn."""


def main(config: MislabelledConfig) -> None:
    """Write and print what is found; a UserError without such photographs, backbone or folder."""
    with errors_of(config):
        folder = user_path(config.output)
        folder.mkdir(parents=True, exist_ok=True)
    with signals.interruptible():
        dataset = with_backbone(config)
        actual = torch.cat([split.labels for split in splits(dataset).values()]).numpy()
        given = flipped(actual, config.flipped_fraction, config.seed)
        probabilities = out_of_sample(config, dataset, given)
    predictions = Predictions(given, probabilities, dataset.classes)
    suggested = suggested_labels(given, probabilities)
    order, wrong = ranked(given, suggested, probabilities), suggested != given
    table = table_of(dataset, predictions, wrong).iloc[order]
    summary = (
        f"probably wrong: {wrong.sum():,} of {plural(len(given), 'label')}; not wrong, but unlike "
        f"their class: {plural(len(order) - wrong.sum(), 'photograph')}"
    )
    with errors_of(config):
        table.to_csv(folder / "mislabelled.csv", index=False, errors="backslashreplace")
        figure = draw(dataset, predictions, wrong, order[:SHOWN], summary)
        figure.savefig(folder / "mislabelled.png")
    if len(order):
        print(table[:SHOWN].to_string(index=False), end="\n\n")
    print(f"{summary}\naccuracy of the cross-validated predictions: {predictions.accuracy:.4f}")
    if config.flipped_fraction:
        changed, found = (given != actual).sum(), (wrong & (given != actual)).sum()
        recall, precision = found / max(1, changed), found / max(1, wrong.sum())
        print(
            f"{plural(changed, 'label')} changed, {found:,} found: "
            f"precision {precision:.3f}, recall {recall:.3f}"
        )
    print(f"table and figure: {folder}")


@contextlib.contextmanager
def errors_of(config: MislabelledConfig) -> Iterator[None]:
    """Let an error of the file system be one of the parameter `output`."""
    try:
        yield
    except OSError as error:
        raise UserError(f"output={config.output}: {error.strerror}") from None
    except DataError as error:
        raise UserError(f"output={config.output}: {error}") from None


def with_backbone(config: MislabelledConfig) -> PhotographDataset:
    """Load the photographs as the backbone takes them, with its features of each."""
    names = ("data", "data_dir", "image_size", "resize", "backbone")
    chosen = {name: getattr(config, name) for name in names}
    of_backbone = CNNConfig(architecture="pretrained", **chosen)
    dataset = load_photographs(of_backbone)
    network = EXPERIMENT.network(of_backbone, len(dataset.classes))
    return with_features(of_backbone, network, dataset)


def splits(dataset: PhotographDataset) -> dict[str, Photographs]:
    """Return the splits by name: a wrong label misleads in training, and miscounts elsewhere."""
    return {split: getattr(dataset, split) for split in get_args(Split)}


def flipped(labels: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Return labels (N,), of which a fraction, drawn at random, has become another class."""
    generator, num_classes = np.random.default_rng(seed), int(labels.max()) + 1
    chosen = generator.permutation(len(labels))[: round(fraction * len(labels))]
    shifts = np.zeros_like(labels)
    shifts[chosen] = generator.integers(1, num_classes, len(chosen))
    return np.asarray((labels + shifts) % num_classes)


def out_of_sample(
    config: MislabelledConfig, dataset: PhotographDataset, labels: np.ndarray
) -> np.ndarray:
    """Return the probabilities of the classes, (N, K), each learned from the other folds alone.

    The backbone has seen none of the labels, so only the classifier of its features is trained
    anew for each fold.
    """
    for label, count in sorted(Counter(labels.tolist()).items(), key=lambda pair: pair[1]):
        if count < config.folds:
            too_few = f"class {dataset.classes[label]} has {plural(count, 'photograph')}"
            raise UserError(f"folds={config.folds}: {too_few}")
    features = [each.inputs[:, 0].numpy() for each in splits(dataset).values()]
    # Chosen on cats and dogs by the loss under flipped labels; a weaker penalty learns them, too.
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=3e-3, max_iter=1000))
    folds = StratifiedKFold(config.folds, shuffle=True, random_state=config.seed)
    probabilities: np.ndarray = cross_val_predict(
        classifier, np.concatenate(features), labels, cv=folds, method="predict_proba"
    )
    return probabilities


def table_of(
    dataset: PhotographDataset, predictions: Predictions, wrong: np.ndarray
) -> pd.DataFrame:
    """Return a row for each of the N photographs, those of the splits one after the other."""
    of_splits = splits(dataset)
    counts = [len(each.names) for each in of_splits.values()]
    rows, classes = np.arange(sum(counts)), np.array(predictions.classes)
    of_label = predictions.probabilities[rows, predictions.labels]
    return pd.DataFrame(
        {
            "photograph": [printable(name) for each in of_splits.values() for name in each.names],
            "split": np.repeat(list(of_splits), counts),
            "label": classes[predictions.labels],
            "predicted": classes[predictions.predicted],
            "probability_of_label": of_label.round(4),
            "probability_of_predicted": predictions.confidence.round(4),
            "probably_wrong": wrong,
        }
    )


def draw(
    dataset: PhotographDataset,
    predictions: Predictions,
    wrong: np.ndarray,
    indices: np.ndarray,
    title: str,
) -> Figure:
    """Draw the photographs with these indices, in their order; wrong labels are framed."""
    if not len(indices):
        return note(title)
    images = [image for each in splits(dataset).values() for image in each.images]
    names = [name for each in splits(dataset).values() for name in each.names]
    captions = [
        f"{short(PurePath(printable(names[index])).name, figures.LINE)}\n{caption}"
        for index, caption in zip(
            indices, figures.captions_of(predictions.select(indices)), strict=True
        )
    ]
    photos = figures.to_hwc(torch.stack([images[index] for index in indices]))
    title = title.replace("; ", " (framed);\n")
    return figures.photographs(photos, captions, title, wrong[indices])
