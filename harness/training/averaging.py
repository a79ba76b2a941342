"""An average of the weights along the way, which generalises better than the last ones."""

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

Tensors = tuple[Tensor, ...] | list[Tensor]


def exponential_moving_average(model: nn.Module, decay: float) -> AveragedModel:
    """Return torch's `AveragedModel` of weights and buffers, with a decay that grows.

    After n steps the average keeps of itself the smaller of `decay`, in (0, 1), and
    (1 + n) / (10 + n): it is worth something from the first epoch on (Tan & Le 2019 train so).
    """
    averaged = AveragedModel(model, use_buffers=True).requires_grad_(False)
    averaged.n_averaged.fill_(1)  # at 0 it would begin with a copy of the first step's weights

    @torch.no_grad()
    def update(averages: Tensors, weights: Tensors, _: Tensor | int) -> None:
        if not averages[0].is_floating_point():  # how many batches a batch norm has seen
            torch._foreach_copy_(averages, weights)
            return
        num_steps = int(averaged.n_averaged) - 1  # on the CPU: nothing waits for the device
        now = min(decay, (1 + num_steps) / (10 + num_steps))
        torch._foreach_lerp_(averages, weights, 1 - now)

    averaged.multi_avg_fn = update
    return averaged
