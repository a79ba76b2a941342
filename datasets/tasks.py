"""Tasks whose samples are drawn by chance, as many as are wanted."""

from abc import ABC, abstractmethod
from typing import Generic, TypeVar

import torch
from torch import Generator, Tensor

from datasets.splits import Split, stream

Samples_co = TypeVar("Samples_co", covariant=True)


class Task(ABC, Generic[Samples_co]):
    """Samples that can be drawn without end."""

    def draw(
        self,
        count: int,
        seed: int,
        split: Split,
        batch: int = 0,
        device: torch.device | str = "cpu",
    ) -> Samples_co:
        """Draw samples: the same numbers give the same samples, whoever asks.

        Args:
            count: how many.
            seed: of the whole run.
            split: no two splits share a stream of random numbers.
            batch: number of the batch, from 0.
            device: where they are drawn, and remain; each kind of device has samples of its own.

        """
        return self.sample(count, stream(seed, split, batch, device=device))

    @abstractmethod
    def sample(self, count: int, generator: Generator) -> Samples_co:
        """Draw so many samples on the generator's device."""


def draw_integers(low: int, high: int, shape: tuple[int, ...], generator: Generator) -> Tensor:
    """Draw integers from `low` to `high`, which is not included, on the generator's device."""
    return torch.randint(low, high, shape, generator=generator, device=generator.device)
