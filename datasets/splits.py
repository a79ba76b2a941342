"""Seeded streams of random numbers, one for each split, so that no two splits ever share one."""

from typing import Literal, get_args

import numpy as np
import torch

Split = Literal["train", "validation", "test"]


def stream(
    seed: int, split: Split, *numbers: int, device: torch.device | str = "cpu"
) -> torch.Generator:
    """Return a generator that draws `split`; different seeds, splits or numbers are independent.

    Args:
        seed: of the whole run.
        split: what is drawn.
        numbers: which part of it, such as the number of a batch.
        device: where is drawn; each kind of device has numbers of its own.

    """
    spawn_key = (get_args(Split).index(split), *numbers)
    state = np.random.SeedSequence(seed, spawn_key=spawn_key).generate_state(1, np.uint64)
    return torch.Generator(device).manual_seed(int(state[0]))
