"""One model that several processes train, each on its part of every batch.

`torchrun --nproc-per-node 4 -m experiments.cnn` starts them, on a GPU each where there are GPUs.
Every process has the same weights and forms the same batches; it computes the loss of its rows, and
gradients and metrics are summed over all. So the numbers are those of one process with the same
batches, but for what is random within the model (each process drops units of its own) and for
penalties that are no means over samples (the balance loss of a mixture is that of each part).

It is data parallelism as in torch's DistributedDataParallel, but with one reduction after the
backward pass: a loss may call any method of the model, and weight its samples as it likes.
"""

import contextlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from harness import torchrun
from harness.errors import UserError
from harness.training.config import TrainingConfig
from harness.training.metrics import MetricAverager, StepOutput


@dataclass(frozen=True)
class Processes:
    """The processes that train one model: this one is number `rank`, from 0 on, of `count`."""

    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the process that tracks the run, and alone goes on after training."""
        return self.rank == 0

    def loss(self, function: Callable[[Any], StepOutput], batch: Any, seed: int) -> StepOutput:
        """Return the loss of this process's part of a batch, with its share in the whole loss.

        What `function` draws at random depends on the seed and the process; the batches' own random
        numbers go on as if it had drawn none.
        """
        if self.count == 1:
            return function(batch)
        part, is_own = self._part(batch)
        devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(seed * self.count + self.rank)
            output = function(part)
        num_samples = torch.as_tensor(output.num_samples, device=output.loss.device) * is_own
        share = num_samples / self.sum(num_samples)
        return StepOutput(output.loss * share, output.metrics, num_samples)

    def sum_gradients(self, model: nn.Module, loss: Tensor) -> Tensor:
        """Sum the gradients of the parts, and return the loss of the whole batch, detached."""
        loss = loss.detach()
        if self.count == 1:
            return loss
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        # One message for all of them, and the loss: many small ones would each wait for the others.
        total = self.sum(torch.cat([loss.view(1), *(each.flatten() for each in gradients)]))
        pieces = total[1:].split([each.numel() for each in gradients])
        for gradient, piece in zip(gradients, pieces, strict=True):
            gradient.copy_(piece.view_as(gradient))
        return total[0]

    def sum_metrics(self, averager: MetricAverager) -> None:
        """Turn the sums of a part into those of all."""
        if self.count > 1:
            averager.sum_over(self.sum)

    @staticmethod
    def sum(values: Tensor) -> Tensor:
        """Return the sum of a tensor over the processes, the same in each of them."""
        values = values.clone()
        torch.distributed.all_reduce(values)
        return values

    def from_first(self, value: Any) -> Any:
        """Return the first process's value, which can be pickled, in each of them."""
        if self.count == 1:
            return value
        file = io.BytesIO()
        torch.save(value, file)  # plain pickles of some tensors cannot be read back
        pickled = [file.getvalue()]
        torch.distributed.broadcast_object_list(pickled, src=0)
        return torch.load(io.BytesIO(pickled[0]), map_location="cpu", weights_only=False)

    def unify(self, model: nn.Module) -> None:
        """Give a model the first process's weights, and batch norm the statistics of all parts."""
        if self.count == 1:
            return
        for tensor in model.state_dict().values():
            torch.distributed.broadcast(tensor, src=0)
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                # The same parameters and buffers; another mean and variance in training.
                module.__class__ = BatchNormOfAllParts

    def _part(self, batch: Any) -> tuple[Any, bool]:
        """Return this process's rows of a batch, and whether they are its own.

        Where there are fewer rows than processes, one that has none takes the first, for nothing.
        """
        tensors = [each for each in batch if isinstance(each, Tensor) and each.dim() > 0]
        num_rows = len(tensors[0])
        first = num_rows * self.rank // self.count
        end = num_rows * (self.rank + 1) // self.count
        rows = slice(first, end) if first < end else slice(0, 1)
        parts = [
            each[rows] if isinstance(each, Tensor) and each.dim() > 0 else each for each in batch
        ]
        return type(batch)(*parts) if hasattr(batch, "_fields") else tuple(parts), first < end


ALONE = Processes()


class BatchNormOfAllParts(_BatchNorm):
    """Batch norm whose mean and variance in training are those of the whole batch.

    torch's SyncBatchNorm does the same, on GPUs alone.
    """

    def forward(self, inputs: Tensor) -> Tensor:
        """Normalise a part of a batch, (N, C, ...)."""
        if not self.training:
            return super().forward(inputs)
        wide = inputs.float()
        dims = [0, *range(2, inputs.dim())]
        shape = (1, -1, *[1] * (inputs.dim() - 2))
        ones = wide.new_full((1,), wide.numel() // wide.shape[1])
        total = SumOverParts.apply(torch.cat([wide.sum(dims), ones]))
        mean, count = total[:-1] / total[-1], total[-1].detach()
        centred = wide - mean.view(shape)
        variance = SumOverParts.apply(centred.square().sum(dims)) / count
        if self.track_running_stats:
            self._track(mean.detach(), variance.detach() * count / (count - 1))
        outputs: Tensor = centred * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            outputs = outputs * self.weight.view(shape) + self.bias.view(shape)
        return outputs.to(inputs.dtype)

    def _track(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum or 0.0)
        self.running_var.lerp_(variance, self.momentum or 0.0)

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002  # as torch has it
        pass


class SumOverParts(torch.autograd.Function):
    """A sum over the processes, whose gradient is such a sum as well."""

    @staticmethod
    def forward(_: Any, values: Tensor) -> Tensor:
        """Return the sum."""
        return Processes.sum(values)

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        """Return the gradient of all the losses by this process's value."""
        return Processes.sum(gradient)


@contextlib.contextmanager
def joined(config: TrainingConfig) -> Iterator[Processes]:
    """Join the processes that torchrun has started, and leave them afterwards.

    Raises:
        UserError: there are more processes than GPUs on this machine, or than rows in a batch.

    """
    if torchrun.world_size() == 1:
        yield ALONE
        return
    on_gpu = config.device in ("auto", "cuda") and torch.cuda.is_available()
    here = torchrun.local_world_size()
    if on_gpu:
        if here > (gpus := torch.cuda.device_count()):
            raise UserError(f"--nproc-per-node={here}: at most {gpus}, the GPUs of this machine")
        torch.cuda.set_device(torchrun.local_rank())
    torch.distributed.init_process_group("nccl" if on_gpu else "gloo")
    try:
        yield Processes(torchrun.rank(), torchrun.world_size())
    finally:
        torch.distributed.destroy_process_group()
