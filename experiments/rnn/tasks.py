"""The memory task that a configuration asks for: in training, in the test, and longer ones."""

from datasets.memory_tasks import Copy, Echo
from datasets.selective_tasks import SelectiveTask, selective_task
from experiments.rnn.config import RNNConfig
from experiments.rnn.curriculum import blank_length_in

MemoryTask = Echo | Copy | SelectiveTask


def for_training(config: RNNConfig, epoch: int) -> MemoryTask:
    """Return the task of an epoch, counted from 1."""
    if config.task == "copy":
        return Copy(blank_length_in(config, epoch))
    return for_validation(config)


def for_validation(config: RNNConfig, factor: int = 1) -> MemoryTask:
    """Return the task to be solved in the end, or one of sequences `factor` times as long.

    There is as much to be remembered in the longer ones, for longer.
    """
    length, _ = length_in(config)
    if config.task == "copy":
        return Copy(factor * length)
    if config.task in ("echo", "variable_echo"):
        shortest = config.min_length if factor == 1 else 0
        return _echo(config, shortest or factor * length, factor * length)
    return selective_task(config.task, factor * length, config.num_items)


def for_test(config: RNNConfig) -> MemoryTask:
    """Return the same task with the lengths of the test."""
    if config.task in ("echo", "variable_echo"):
        return _echo(config, config.length, config.test_length or config.length)
    return for_validation(config)


def length_in(config: RNNConfig) -> tuple[int, str]:
    """Return the length that sequences are trained with in the end, and its unit."""
    if config.task == "copy":
        return config.blank_length, "blanks"
    if config.task in ("echo", "variable_echo"):
        return config.length, "letters"
    return config.sequence_length, "steps"


def _echo(config: RNNConfig, min_length: int, max_length: int) -> Echo:
    delays = (config.delay, config.delay) if config.task == "echo" else (0, config.max_delay)
    return Echo(*delays, min_length, max_length)
