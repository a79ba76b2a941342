"""An average of the weights along the way, which generalises better than the last ones."""

import copy

import torch
from torch import nn

from experiments.harness.checkpoint import State


class WeightAverage:
    """Exponential moving average of a model's weights, and of what its batch norms have measured.

    After n steps the decay is the smaller of `decay` and (1 + n) / (10 + n), so that an average is
    worth something from the first epoch on (Tan & Le 2019 train so).

    Args:
        model: what is averaged while it learns.
        decay: what the average keeps of itself at each step, in (0, 1).

    """

    def __init__(self, model: nn.Module, decay: float):
        self.model = copy.deepcopy(model).requires_grad_(False)
        self.decay = decay
        self._num_steps = 0
        # The tensors of both, which stay the same while their values change.
        pairs = list(
            zip(self.model.state_dict().values(), model.state_dict().values(), strict=True)
        )
        self._real = [pair for pair in pairs if pair[0].is_floating_point()]
        self._counts = [pair for pair in pairs if not pair[0].is_floating_point()]

    @torch.no_grad()
    def update(self) -> None:
        """Move towards the weights that the model has now."""
        decay = min(self.decay, (1 + self._num_steps) / (10 + self._num_steps))
        self._num_steps += 1
        averages, weights = zip(*self._real, strict=True)
        torch._foreach_lerp_(averages, weights, 1 - decay)  # all of them in one operation
        for mine, theirs in self._counts:
            mine.copy_(theirs)

    def state_dict(self) -> State:
        """Return what a checkpoint keeps."""
        return {"model": self.model.state_dict(), "num_steps": self._num_steps}

    def load_state_dict(self, state: State) -> None:
        """Go on where `state_dict` was taken."""
        self.model.load_state_dict(state["model"])
        self._num_steps = state["num_steps"]
