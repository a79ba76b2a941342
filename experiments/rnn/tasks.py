"""The memory task that a configuration asks for: in training, in the test, and longer ones."""

from datasets.memory_tasks import Copy, Echo
from datasets.selective_tasks import SelectiveTask, selective_task
from experiments.rnn.config import RNNConfig
from experiments.rnn.curriculum import drawn, length_in

MemoryTask = Echo | Copy | SelectiveTask


def for_training(config: RNNConfig, epoch: int, batch: int | None = None) -> MemoryTask:
    """Return the task of an epoch, counted from 1: that of a batch, or else the longest."""
    name, _ = length_parameter(config)
    if name == "length":
        return for_validation(config)
    length = length_in(config, name, epoch)
    if config.mix_lengths and batch is not None:
        length = drawn(config, length, batch)
    return _holding(config, length)


def for_validation(config: RNNConfig, factor: int = 1) -> MemoryTask:
    """Return the task to be solved in the end, or one of sequences `factor` times as long.

    There is as much to be remembered in the longer ones, for longer.
    """
    name, _ = length_parameter(config)
    length = factor * getattr(config, name)
    if name == "length":
        shortest = config.min_length if factor == 1 else 0
        return _echo(config, shortest or length, length)
    return _holding(config, length)


def for_test(config: RNNConfig) -> MemoryTask:
    """Return the same task with the lengths of the test."""
    name, _ = length_parameter(config)
    if name == "length":
        return _echo(config, config.length, config.test_length or config.length)
    return for_validation(config)


def length_parameter(config: RNNConfig) -> tuple[str, str]:
    """Return the parameter that the length of a task is, and its unit."""
    if config.task == "copy":
        return "blank_length", "blanks"
    if config.task in ("echo", "variable_echo"):
        return "length", "letters"
    return "sequence_length", "steps"


def _holding(config: RNNConfig, length: int) -> Copy | SelectiveTask:
    if config.task == "copy":
        return Copy(length)
    return selective_task(config.task, length, config.num_items)


def _echo(config: RNNConfig, min_length: int, max_length: int) -> Echo:
    delays = (config.delay, config.delay) if config.task == "echo" else (0, config.max_delay)
    return Echo(*delays, min_length, max_length)
