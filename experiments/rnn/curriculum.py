"""The curriculum of tasks that are held over many steps: few of them first."""

from datasets.generated import random_integers, seeded_generator
from experiments.rnn.config import RNNConfig

LENGTHS = 1
"""Tells the random numbers of lengths from those of sequences."""


def length_in(config: RNNConfig, name: str, epoch: int) -> int:
    """Return the length of an epoch, counted from 1: a curriculum (Bengio et al. 2009).

    Over many steps no gradient says how to hold ten symbols; over a few it does, and a network that
    holds them can be trained to hold them longer. The first four tenths of the epochs have the
    initial length; it then grows by the same factor from epoch to epoch, so that the last tenth has
    all of it. `name` is the parameter that has it: that of the first epochs is `initial_` and name.
    """
    final: int = getattr(config, name)
    initial: int = min(getattr(config, f"initial_{name}"), final) or final
    progress = (epoch - 1) / max(1, config.num_epochs - 1)
    grown = min(max(0.0, (progress - 0.4) / 0.5), 1.0)
    factor: float = (final / initial) ** grown
    return round(initial * factor)


def drawn(config: RNNConfig, length: int, batch: int) -> int:
    """Draw a length from the shortest possible to `length`, for a batch counted from 0.

    When to recall is then no matter of time: a clock cannot stand for the memory of what was read.
    With lengths that grow, this is the combined strategy of Zaremba & Sutskever (2014, section 4).
    """
    generator = seeded_generator(config.seed, "train", batch, LENGTHS)
    lengths = range(config.shortest_length, length + 1)
    return int(random_integers(lengths, (), generator))
