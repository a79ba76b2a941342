"""Data sets whose samples are generated at random, as many as are wanted."""

from abc import ABC, abstractmethod
from typing import Generic, TypeVar, get_args

import numpy as np
import torch
from torch import Generator, Tensor

from datasets.choices import Split

Samples_co = TypeVar("Samples_co", covariant=True)


def seeded_generator(
    seed: int, split: Split, *numbers: int, device: torch.device | str = "cpu"
) -> Generator:
    """Return a random-number generator of its own for a split, or for one of its numbered parts.

    Those of different seeds, splits or numbers are statistically independent. CPU and GPU generate
    different numbers from the same seed.
    """
    spawn_key = (get_args(Split).index(split), *numbers)
    state = np.random.SeedSequence(seed, spawn_key=spawn_key).generate_state(1, np.uint64)
    return Generator(device).manual_seed(int(state[0]))


class GeneratedDataset(ABC, Generic[Samples_co]):
    """A distribution from which samples can be generated without end."""

    def generate(
        self,
        count: int,
        seed: int,
        split: Split,
        batch: int = 0,
        device: torch.device | str = "cpu",
    ) -> Samples_co:
        """Generate the `count` samples of a batch on a device; the same arguments give the same.

        No two batches, from 0, and no two splits share random numbers.
        """
        return self.sample(count, seeded_generator(seed, split, batch, device=device))

    @abstractmethod
    def sample(self, count: int, generator: Generator) -> Samples_co:
        """Generate `count` samples on the generator's device."""


def random_integers(values: range, shape: tuple[int, ...], generator: Generator) -> Tensor:
    """Draw integers uniformly from consecutive ones, int64, on the generator's device."""
    low, high = values.start, values.stop
    return torch.randint(low, high, shape, generator=generator, device=generator.device)
