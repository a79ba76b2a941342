"""The one way to train a configuration: for runs, trials, finals, seeds, comparisons, notebooks."""

import copy
import dataclasses
from collections.abc import Sequence
from typing import Any

from torch import nn

from harness.config import C
from harness.experiment import Experiment, Trained
from harness.training.batches import to_device
from harness.training.device import Hardware, seed_everything
from harness.training.history import History
from harness.training.loop import Callback, Recorder, fit


def train(
    experiment: Experiment[C],
    config: C,
    *,
    data: Any = None,
    callbacks: Sequence[Callback] = (),
    recorder: Recorder | None = None,
) -> Trained:
    """Train as a configuration says, and keep the best epoch by validation; read no test split.

    The same configuration gives the same numbers, wherever it is trained from and whether or not
    it is recorded.

    Args:
        experiment: what is trained.
        config: how.
        data: what `experiment.load_data(config)` returns, where it is loaded already.
        callbacks: called at the end of each epoch.
        recorder: where epochs are logged and checkpoints kept.

    Raises:
        UserError: the configuration asks for something that is not there.
        DivergedError: the loss is NaN or infinite.

    """
    hardware = Hardware.choose(config)
    data = experiment.load_data(config) if data is None else data
    seed_everything(config.seed)
    model = experiment.build_model(config, data)
    untrained = copy.deepcopy(model).eval()
    hardware.prepare(model, method=experiment.compiled_method)
    on_device = dataclasses.replace(
        data,
        train=to_device(data.train, hardware.device),
        validation=to_device(data.validation, hardware.device),
    )
    history = fit(
        model,
        config,
        train=lambda epoch: experiment.training_batches(config, on_device, epoch),
        validation=experiment.validation_batches(config, on_device),
        loss_function=lambda model, batch: experiment.loss(config, model, batch),
        optimizer=experiment.optimizer(config, model),
        hardware=hardware,
        monitor=experiment.monitor,
        maximise=experiment.maximise,
        summarise=experiment.summarise,
        clip=experiment.clip_gradients,
        snapshot_epochs=experiment.snapshot_epochs(config),
        callbacks=callbacks,
        recorder=recorder,
        title=experiment.title(config),
    )
    best = experiment.select_model(config, model, history)
    # A copy, which leaves the device and whatever was compiled for it behind.
    best = copy.deepcopy(best).cpu().eval()
    return Trained(config=config, data=data, model=best, untrained=untrained, history=history)


def train_with_seeds(experiment: Experiment[C], config: C, count: int) -> list[Trained]:
    """Train `count` times, with seeds from the configuration's upwards; nothing is recorded."""
    seeds = range(config.seed, config.seed + count)
    return [train(experiment, config.replace(seed=seed)) for seed in seeds]


def rebuild(
    experiment: Experiment[C], config: C, data: Any, best: nn.Module, history: History
) -> Trained:
    """Return what training left behind, from the model and the history that were kept of it."""
    seed_everything(config.seed)
    untrained = experiment.build_model(config, data).eval()
    return Trained(config=config, data=data, model=best, untrained=untrained, history=history)
