"""The curriculum of tasks that are held over many steps: few of them first."""

from experiments.rnn.config import RNNConfig


def length_in(config: RNNConfig, epoch: int) -> int:
    """Return the length of an epoch, counted from 1: a curriculum (Bengio et al. 2009).

    It is `blank_length` of the copy task, and `sequence_length` of selective tasks. Over many steps
    no gradient says how to hold ten symbols; over a few it does, and a network that holds them can
    be trained to hold them longer. The first four tenths of the epochs have the initial length; it
    then grows by the same factor from epoch to epoch, so that the last tenth has all of it.
    """
    initial, final = config.initial_sequence_length, config.sequence_length
    if config.task == "copy":
        initial, final = config.initial_blank_length, config.blank_length
    initial = min(initial, final) or final
    progress = (epoch - 1) / max(1, config.num_epochs - 1)
    grown = min(max(0.0, (progress - 0.4) / 0.5), 1.0)
    factor: float = (final / initial) ** grown
    return round(initial * factor)
