"""Networks that an experiment compares: trained side by side, without runs of their own."""

import pickle
from collections.abc import Mapping
from functools import partial
from typing import Any, TypeVar

from harness.execution.config import ExecutionConfig
from harness.execution.messages import Report, Task, reporting, result_of
from harness.execution.pools import open_pool_if_needed
from harness.execution.run_all import run_all
from harness.experiment import Experiment, Trained
from harness.training.config import C
from harness.training.device import Hardware
from harness.training.train import train

K = TypeVar("K")


def train_all(
    experiment: Experiment[C], configs: Mapping[K, C], execution: ExecutionConfig, data: Any = None
) -> dict[K, Trained]:
    """Train several configurations, some at the same time; return what comes of each.

    How many at once, and where, is what `execution` says. They come without their data and without
    the untrained models. `data` is what `experiment.load_data` returns for all of them, where that
    is the same and loaded already; other processes load it by themselves.

    Raises:
        UserError: a configuration asks for something that is not there.
        RuntimeError: a training has failed; its traceback is the message.

    """
    first = next(iter(configs.values()))
    needs = Hardware.choose(first).needs
    with open_pool_if_needed(execution, len(configs), **needs) as pool:
        keys = {}
        for key, config in configs.items():
            given = data if pool is None else None
            keys[Task(partial(_train, experiment, config, given), config.as_name())] = key
        results = {}
        for task, outcome in run_all(list(keys), pool, title="networks to compare"):
            results[keys[task]] = pickle.loads(result_of(outcome, task.name))
    trained = {}
    for key, config in configs.items():
        model, history = results[key]
        trained[key] = Trained(
            config=config, data=None, model=model, untrained=None, history=history
        )
    return trained


def _train(experiment: Experiment[C], config: C, data: Any, report: Report) -> bytes:
    """Train in a worker; bytes do not depend on its shared memory, as tensors would."""
    trained = train(experiment, config, data=data, callbacks=(reporting(report),))
    return pickle.dumps((trained.model, trained.history))
