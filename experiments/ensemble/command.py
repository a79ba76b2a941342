"""Make one model of several trained classifiers, and evaluate it.

It is logged to the run of several seeds whose children its members are, or else to a run of its
own, as any trained model is: `predict`, servers and the registry take it for one.
"""

import contextlib
import dataclasses
import functools
import statistics
from collections.abc import Iterator, Sequence

import mlflow
import numpy as np
from mlflow.tracking import MlflowClient

import experiments
from experiments.ensemble.config import EnsembleConfig
from experiments.ensemble.members import (
    Member,
    find_members,
    require_same_samples,
    require_same_split,
)
from harness import signals
from harness.errors import UserError
from harness.evaluation import Predictions
from harness.experiment import AnyExperiment, ModelExport, NamedFigure, Trained
from harness.figures import classification
from harness.inference.inference import config_of
from harness.tracking.lifecycle import reopen, track_command
from harness.tracking.models import ENSEMBLE
from harness.tracking.run import Run, require_same_data
from harness.tracking.view import shown_at
from harness.training.config import TrainingConfig
from harness.training.history import History
from harness.uncertainty import Calibration, Uncertainty, calibration_of, kept_with
from harness.wording import code_block
from models.ensemble import Ensemble
from models.size import num_parameters


def main(config: EnsembleConfig) -> None:
    """Log an ensemble of runs, evaluated on the test split of the first.

    Raises:
        UserError: no ensemble can be made of them.

    """
    members = find_members(config.runs)
    experiment = experiments.find(members[0].model.metadata["entry_point"])
    with signals.interruptible():
        singles = restore(experiment, members)
    data = singles[0].data
    require_same_data(members[0].run_id, data.data_set)
    require_same_split(members, are_generated=not data.counts)
    with signals.interruptible():
        validation = predictions(experiment, singles, "validation")
        test = predictions(experiment, singles, "test")
    if not validation:
        raise UserError(f"runs={members[0].run_id}: predicts numbers; ensembles are of classifiers")
    require_same_samples(members, validation)
    require_same_samples(members, test)
    is_validated = all(experiment.has_validation(single.config) for single in singles)
    calibration = calibration_of(mean(validation)) if is_validated else None
    exported = kept_with(export(experiment, singles, members), calibration)
    with opened(config, members, singles[0].config) as run:
        run.log_model(exported)
        log_evaluation(run, mean(validation), mean(test), calibration)
        alone = [each.accuracy for each in test]
        run_ids = [member.run_id for member in members]
        run.log_table("ensemble_members", {"run": run_ids, "test_accuracy": alone})
        count = sum(num_parameters(single.model) for single in singles)
        describe(run, config, headline(mean(test).accuracy, alone, count))


def restore(experiment: AnyExperiment, members: Sequence[Member]) -> list[Trained]:
    """Return the members' networks, each with the data of the first as it takes them itself.

    The data of all have the first one's seed: they are the same samples.
    """
    configs = [config_of(member.model, experiment) for member in members]
    load = functools.cache(experiment.load_data)
    singles = []
    for config, member in zip(configs, members, strict=True):
        data = load(config.replace(seed=configs[0].seed))
        model = experiment.restore_model(config, data, member.model.weights)
        singles.append(
            Trained(config=config, data=data, model=model, untrained=model, history=History())
        )
    return singles


def predictions(
    experiment: AnyExperiment, singles: Sequence[Trained], split: str
) -> list[Predictions]:
    """Return what each member predicts for a split; nothing where they predict no classes."""
    found = (experiment.predictions(single, getattr(single.data, split)) for single in singles)
    return [each for each in found if each is not None]


def mean(members: Sequence[Predictions]) -> Predictions:
    """Return the mean of probabilities, as the ensemble computes it."""
    probabilities = np.mean([each.probabilities for each in members], axis=0)
    return members[0]._replace(probabilities=probabilities)


def export(
    experiment: AnyExperiment, singles: Sequence[Trained], members: Sequence[Member]
) -> ModelExport:
    """Return the ensemble as it is logged: what its first member is, but for the module."""
    exports = [experiment.export(single.config, single) for single in singles]
    first = exports[0]
    metadata = {
        **first.metadata,
        "members": [
            {
                "run_id": member.run_id,
                "configuration": single.config.as_parameters(),
                "weights_prefix": f"members.{i}.{exported.weights_prefix}",
            }
            for i, (member, single, exported) in enumerate(
                zip(members, singles, exports, strict=True)
            )
        ],
    }
    module = Ensemble(exported.module for exported in exports)
    return dataclasses.replace(first, module=module, weights_prefix="", metadata=metadata)


@contextlib.contextmanager
def opened(
    config: EnsembleConfig, members: Sequence[Member], first: TrainingConfig
) -> Iterator[Run]:
    """Open the parent of the members, or a run for runs that have none in common."""
    ids = " ".join(member.run_id for member in members)
    if len(config.runs) == 1:
        with reopen(config.runs[0], first) as run:
            mlflow.set_tag(ENSEMBLE, ids)
            yield run
        return
    with track_command(config, first.family) as run_id:
        tags = {"architecture": first.family, "entry_point": first.entry_point, ENSEMBLE: ids}
        mlflow.set_tags({**tags, "mlflow.runName": f"ensemble of {len(members)}"})
        yield Run(run_id, first)


def log_evaluation(
    run: Run, validation: Predictions, test: Predictions, calibration: Calibration | None
) -> None:
    """Log what the ensemble reaches, named as the metrics of a single network with a prefix."""
    metrics = test.metrics()
    figures: list[NamedFigure] = [
        ("confusion", classification.confusion(test.confusion, test.classes)),
        ("reliability", classification.reliability(*test.reliability)),
    ]
    if calibration is not None:
        uncertain = Uncertainty(test, calibration)
        metrics |= {**uncertain.metrics, "best/val_accuracy": validation.accuracy}
        figures += uncertain.figures()
    run.log_metrics({name.replace("/", "/ensemble_", 1): value for name, value in metrics.items()})
    for name, figure in figures:
        run.log_figure(f"ensemble_{name}", figure)


def headline(accuracy: float, alone: Sequence[float], count: int) -> str:
    """Say in a sentence what the ensemble reaches, and what its members do."""
    return (
        f"Ensemble of {len(alone)} networks, {count:,} parameters: test accuracy {accuracy:.4f}; "
        f"its members one by one {min(alone):.4f} to {max(alone):.4f}, "
        f"mean {statistics.fmean(alone):.4f}."
    )


def describe(run: Run, config: EnsembleConfig, text: str) -> None:
    """Add to the run's description, once, and print where the model is."""
    client, command = MlflowClient(), code_block(config.as_command())
    note = client.get_run(run.run_id).data.tags.get("mlflow.note.content", "")
    if command not in note:
        note = f"{note}\n{text}\n\n{command}\n".lstrip()
        client.set_tag(run.run_id, "mlflow.note.content", note)
    print(f"{text}\nModel runs:/{run.run_id}/model; {shown_at(run.run_id)}")
