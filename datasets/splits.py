"""Seeded streams of random numbers, one for each split, so that no two splits ever share one."""

from typing import Literal, get_args

import numpy as np
import torch

Split = Literal["train", "validation", "test"]


def stream(seed: int, split: Split) -> torch.Generator:
    """Return the CPU generator that draws `split`; different seeds or splits are independent."""
    spawn_key = (get_args(Split).index(split),)
    state = np.random.SeedSequence(seed, spawn_key=spawn_key).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))
