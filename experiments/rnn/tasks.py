"""The memory task that a configuration asks for: in training, in the test, and longer ones."""

from datasets.memory_tasks import Copy, Echo
from experiments.rnn.config import RNNConfig
from experiments.rnn.curriculum import blank_length_in


def for_training(config: RNNConfig, epoch: int) -> Echo | Copy:
    """Return the task of an epoch, counted from 1."""
    if config.task == "copy":
        return Copy(blank_length_in(config, epoch))
    return for_validation(config)


def for_validation(config: RNNConfig, factor: int = 1) -> Echo | Copy:
    """Return the task to be solved in the end, or one of sequences `factor` times as long."""
    if config.task == "copy":
        return Copy(factor * config.blank_length)
    shortest = config.min_length if factor == 1 else 0
    return _echo(config, shortest or factor * config.length, factor * config.length)


def for_test(config: RNNConfig) -> Echo | Copy:
    """Return the same task with the lengths of the test."""
    if config.task == "copy":
        return for_validation(config)
    return _echo(config, config.length, config.test_length or config.length)


def _echo(config: RNNConfig, min_length: int, max_length: int) -> Echo:
    delays = (config.delay, config.delay) if config.task == "echo" else (0, config.max_delay)
    return Echo(*delays, min_length, max_length)
