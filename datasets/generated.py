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
    """Return a random-number generator of its own for a split, or for a part of it.

    Generators of different seeds, splits or numbers are statistically independent.

    Args:
        seed: of the run.
        split: which split is generated.
        numbers: which part of the split, such as the number of a batch.
        device: of the generator; CPU and GPU generate different numbers from the same seed.

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
        """Generate samples, reproducibly: the same arguments give the same samples.

        Args:
            count: number of samples.
            seed: of the run.
            split: no two splits share random numbers.
            batch: number of the batch, from 0.
            device: where the samples are generated, and remain; CPU and GPU generate different
                samples from the same seed.

        """
        return self.sample(count, seeded_generator(seed, split, batch, device=device))

    @abstractmethod
    def sample(self, count: int, generator: Generator) -> Samples_co:
        """Generate `count` samples on the generator's device."""


def random_integers(low: int, high: int, shape: tuple[int, ...], generator: Generator) -> Tensor:
    """Draw integers uniformly from [low, high), int64, on the generator's device."""
    return torch.randint(low, high, shape, generator=generator, device=generator.device)
