"""The curriculum of the copy task: few blanks first."""

from experiments.rnn.config import RNNConfig


def blank_length_in(config: RNNConfig, epoch: int) -> int:
    """Return the blank length of an epoch, counted from 1: a curriculum (Bengio et al. 2009).

    Over many blanks no gradient says how to hold ten symbols; over a few it does, and a network
    that holds them can be trained to hold them longer. The first four tenths of the epochs have
    `initial_blank_length`; it then grows by the same factor from epoch to epoch, so that the last
    tenth has `blank_length`.
    """
    initial = min(config.initial_blank_length, config.blank_length) or config.blank_length
    progress = (epoch - 1) / max(1, config.num_epochs - 1)
    grown = min(max(0.0, (progress - 0.4) / 0.5), 1.0)
    factor: float = (config.blank_length / initial) ** grown
    return round(initial * factor)
