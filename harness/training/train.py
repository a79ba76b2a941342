"""The one way to train a configuration: for runs, trials, finals, seeds, comparisons, notebooks."""

import copy
import dataclasses
from collections.abc import Sequence
from typing import Any

from harness import signals
from harness.experiment import Experiment, Trained
from harness.training.batches import to_device
from harness.training.config import C
from harness.training.data_parallel import ALONE, Processes
from harness.training.device import Hardware, seed_everything
from harness.training.loop import Callback, Recorder, fit
from harness.training.memory import load_data, suggesting_batch_size


def train(
    experiment: Experiment[C],
    config: C,
    *,
    data: Any = None,
    callbacks: Sequence[Callback] = (),
    recorder: Recorder | None = None,
    processes: Processes = ALONE,
) -> Trained:
    """Train as a configuration says, and keep the best epoch by validation; read no test split.

    The same configuration gives the same numbers, wherever it is trained from and whether or not
    it is recorded. `data` is what `experiment.load_data(config)` returns, where it is loaded
    already; callbacks are called at the end of each epoch.

    Raises:
        UserError: the configuration asks for something that is not there.
        NotEnoughMemoryError: memory runs out; the message suggests a batch size.
        DivergedError: the loss is NaN or infinite.

    """
    hardware = Hardware.choose(config)
    data = load_data(experiment, config, hardware) if data is None else data
    load_teacher = experiment.find_teacher(config, data)
    teacher = hardware.prepare(load_teacher()) if load_teacher else None
    seed_everything(config.seed)
    model = experiment.build_model(config, data)
    untrained = copy.deepcopy(model).eval()
    hardware.prepare(model, experiment.compiled_method)
    processes.unify(model)
    with suggesting_batch_size(config, hardware):
        on_device = dataclasses.replace(
            data,
            train=to_device(data.train, hardware.device),
            validation=to_device(data.validation, hardware.device),
        )
        with signals.deferred():  # what is compiled cannot be left halfway
            history = fit(
                experiment,
                config,
                model,
                on_device,
                hardware,
                callbacks,
                recorder,
                processes,
                teacher,
            )
    # A copy, which leaves the device and whatever was compiled for it behind.
    best = copy.deepcopy(experiment.select_model(config, data, model, history)).cpu().eval()
    return Trained(config=config, data=data, model=best, untrained=untrained, history=history)


def train_with_seeds(experiment: Experiment[C], config: C, count: int) -> list[Trained]:
    """Train `count` times, with seeds from the configuration's upwards; nothing is recorded."""
    seeds = range(config.seed, config.seed + count)
    return [train(experiment, config.replace(seed=seed)) for seed in seeds]
