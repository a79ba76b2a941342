"""An average of the weights along the way, which generalises better than the last ones."""

import copy

import torch
from torch import Tensor, nn

from experiments.harness.checkpoint import State


class WeightAverage:
    """Exponential moving average of a model's weights, and of what its batch norms have measured.

    After n steps the decay is the smaller of `decay` and (1 + n) / (10 + n), so that an average is
    worth something from the first epoch on (Tan & Le 2019 train so).

    Args:
        model: is copied; the copy takes part in no training.
        decay: what the average keeps of itself at each step, in (0, 1).

    """

    def __init__(self, model: nn.Module, decay: float):
        self.model = copy.deepcopy(model).requires_grad_(False)
        self.decay = decay
        self._num_steps = 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move towards the weights that `model` has now."""
        decay = min(self.decay, (1 + self._num_steps) / (10 + self._num_steps))
        self._num_steps += 1
        real: tuple[list[Tensor], list[Tensor]] = ([], [])
        pairs = zip(self.model.state_dict().values(), model.state_dict().values(), strict=True)
        for mine, theirs in pairs:
            if mine.is_floating_point():
                real[0].append(mine)
                real[1].append(theirs)
            else:
                mine.copy_(theirs)
        torch._foreach_lerp_(*real, 1 - decay)  # all of them in one operation

    def state_dict(self) -> State:
        """Return what a checkpoint keeps."""
        return {"model": self.model.state_dict(), "num_steps": self._num_steps}

    def load_state_dict(self, state: State) -> None:
        """Go on where `state_dict` was taken."""
        self.model.load_state_dict(state["model"])
        self._num_steps = state["num_steps"]
