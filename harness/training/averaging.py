"""An average of the weights along the way, which generalises better than the last ones."""

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel


class MovingAverage(AveragedModel):
    """An exponential moving average of weights and buffers, with a decay that grows.

    After n steps the average keeps of itself the smaller of `decay`, in (0, 1), and
    (1 + n) / (10 + n): it is worth something from the first epoch on (Tan & Le 2019 train so).
    """

    def __init__(self, model: nn.Module, decay: float):
        super().__init__(model, use_buffers=True)
        self.requires_grad_(False)
        self.decay = decay
        self.n_averaged.fill_(1)  # as if after a first step, whose weights torch's own would copy

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Move the averages on by one step.

        That of torch copies `n_averaged` to the device, for which the host waits in every step.
        """
        num_steps = int(self.n_averaged) - 1  # on the CPU
        keep = min(self.decay, (1 + num_steps) / (10 + num_steps))
        averages = [*self.module.parameters(), *self.module.buffers()]
        weights = [*model.parameters(), *model.buffers()]
        pairs = list(zip(averages, weights, strict=True))
        pairs = [(a, w) for a, w in pairs if w.requires_grad or not isinstance(w, nn.Parameter)]
        reals = [pair for pair in pairs if pair[0].is_floating_point()]
        counters = [pair for pair in pairs if not pair[0].is_floating_point()]  # of batch norms
        if reals:
            torch._foreach_lerp_([a for a, _ in reals], [w for _, w in reals], 1 - keep)
        if counters:
            torch._foreach_copy_([a for a, _ in counters], [w for _, w in counters])
        self.n_averaged += 1
