"""Metrics of training: by the batch, averaged over an epoch, checked for NaN."""

import copy
import math
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


class StepOutput(NamedTuple):
    """What a loss function returns for one batch."""

    loss: Tensor
    """Scalar, to be differentiated."""
    metrics: dict[str, Tensor]
    """Means over the batch, of any shape. `loss` and `accuracy` are those the bar shows."""
    num_samples: int | Tensor
    """What the means are over: an epoch's metrics are weighted by it."""


class MetricAverager:
    """Weighted sums of metrics, kept on the device: adding to them waits for nothing."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self.num_samples: int | Tensor = 0

    def add(self, output: StepOutput) -> None:
        """Add one batch."""
        self.num_samples = self.num_samples + output.num_samples
        for name, mean in output.metrics.items():
            weighted = mean.detach().to(wide_dtype(mean.device)) * output.num_samples
            self._sums[name] = self._sums[name] + weighted if name in self._sums else weighted

    def sum_over(self, total: Callable[[Tensor], Tensor]) -> None:
        """Replace the sums by their totals over several averagers, as `total` forms them."""
        names, sums = list(self._sums), list(self._sums.values())
        count = torch.as_tensor(self.num_samples, dtype=sums[0].dtype, device=sums[0].device)
        flat = total(torch.cat([count.view(1), *(each.flatten() for each in sums)]))
        pieces = flat[1:].split([each.numel() for each in sums])
        shaped = (piece.view_as(each) for piece, each in zip(pieces, sums, strict=True))
        self._sums = dict(zip(names, shaped, strict=True))
        self.num_samples = flat[0]

    def means(self, prefix: str = "") -> dict[str, Tensor]:
        """Return the mean of each metric, on the CPU, float64."""
        sums = self._sums.items()
        return {prefix + name: (total / self.num_samples).cpu().double() for name, total in sums}


def wide_dtype(device: torch.device) -> torch.dtype:
    """Return float64, or float32 on MPS, which has nothing wider."""
    return torch.float32 if device.type == "mps" else torch.float64


def fraction(correct: Tensor) -> Tensor:
    """Return the fraction of True over the last dimension of (..., N) bool: (...), float64."""
    return correct.to(wide_dtype(correct.device)).mean(-1)


def confusion_matrix(labels: Tensor, predicted: Tensor, num_classes: int) -> Tensor:
    """Return the share of each pair of an actual (row) and a predicted class, (K, K) float64.

    Both are (N,) int64; nothing waits for the device.
    """
    one_hot = torch.eye(num_classes, dtype=wide_dtype(labels.device), device=labels.device)
    return one_hot[labels].T @ one_hot[predicted] / len(labels)


class DivergedError(ArithmeticError):
    """The loss became NaN or infinite."""


def check_finite(loss: float, epoch: int, step: str, learning_rate: float) -> None:
    """Raise DivergedError, saying where it happened, if the loss is NaN or infinite."""
    if not math.isfinite(loss):
        where = f"epoch {epoch}, {step}, learning rate {learning_rate:g}"
        raise DivergedError(f"the loss became {loss} at {where}")


def check_losses(unchecked: list[tuple[int, float, Tensor]], epoch: int) -> None:
    """Check several losses, each after its step and learning rate, and empty the list."""
    losses = torch.stack([loss for *_, loss in unchecked]).tolist() if unchecked else []
    for (step, rate, _), loss in zip(unchecked, losses, strict=True):
        check_finite(loss, epoch, f"step {step}", rate)
    unchecked.clear()


def scalars(metrics: dict[str, Tensor]) -> dict[str, float]:
    """Turn metrics into named numbers; the entries of a vector are numbered from 1.

    Matrices are left out: they are for figures.
    """
    summary = {}
    for name, value in metrics.items():
        if value.dim() == 0:
            summary[name] = float(value)
        elif value.dim() == 1:
            summary |= {f"{name}_{i}": float(v) for i, v in enumerate(value, start=1)}
    return summary


def decimal(value: float, beside: float | None = None) -> str:
    """Return a number as people read it: four decimals, or three digits where it is small.

    It is written like the number `beside` that it belongs to, such as the mean of a deviation.
    """
    scale = value if beside is None else beside
    return f"{value:.4f}" if scale == 0 or abs(scale) >= 0.01 else f"{value:.3g}"


def model_cost(model: nn.Module, example_input: Tensor) -> dict[str, float]:
    """Count a model's parameters, and its floating-point operations per sample in prediction.

    An addition and a multiplication are two operations; only products of matrices and
    convolutions count. The model is in evaluation mode, and takes the (N, ...) samples given.
    """
    # On the meta device, where every layer consists of those: the kernels of a CPU that fuse an
    # LSTM, or attention, would count for nothing. It holds shapes only, and computes nothing.
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        copy.deepcopy(model).to("meta")(example_input.to("meta"))
    return {
        "num_parameters": sum(p.numel() for p in model.parameters()),
        "flops_per_sample": counter.get_total_flops() / len(example_input),
    }


@torch.inference_mode()
def prediction_seconds(model: nn.Module, example_input: Tensor) -> float:
    """Return how long a model takes to predict one sample on the CPU, the median of five times.

    The model is in evaluation mode, and takes the (N, ...) samples given, the first of them here.
    """
    seconds = []
    for _ in range(6):
        began = time.perf_counter()
        model(example_input[:1])
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds[1:])  # the first one warms up
