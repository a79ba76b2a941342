"""Sparse computation of a mixture against its dense form: forward and backward of one batch.

    python -m benchmarks.sparse_experts

64 experts of 256 hidden units, two of them for each of 4,096 points of 256 features and 10 classes.
The dense form, that of evaluation and of the logged model, evaluates every expert at every point,
and masks. Both take turns, and the median of the ratios counts. The peak memory of each is that of
a process of its own, above what it had with the model built.
"""

import argparse
import multiprocessing
import resource
import statistics
import time

import torch
from torch import Tensor

from models import moe_losses
from models.moe import MixtureOfExperts

NUM_EXPERTS, EXPERT_HIDDEN, TOP_K = 64, 256, 2
NUM_POINTS, NUM_FEATURES, NUM_CLASSES = 4_096, 256, 10
ROUNDS = 9
MIB_PER_UNIT = 1 / 1024  # ru_maxrss is in KiB on Linux
IS_SPARSE = {"dense": False, "sparse": True}


def build() -> tuple[MixtureOfExperts, Tensor, Tensor]:
    """Return model, points and labels."""
    torch.manual_seed(0)
    model = MixtureOfExperts(
        NUM_FEATURES,
        NUM_EXPERTS,
        num_classes=NUM_CLASSES,
        mixing="probabilities",
        expert_hidden=EXPERT_HIDDEN,
        gate="softmax",
        gate_hidden=0,
        top_k=TOP_K,
        routing="top_k",
        routing_noise=0.0,
        bias_update_rate=0.0,
        temperature=1.0,
    )
    labels = torch.randint(NUM_CLASSES, (NUM_POINTS,))
    return model, torch.randn(NUM_POINTS, NUM_FEATURES), labels


def seconds(way: str, model: MixtureOfExperts, x: Tensor, labels: Tensor) -> float:
    """Return the time of one forward and backward pass."""
    model.train(IS_SPARSE[way])  # in evaluation, every expert is evaluated at every point
    model.zero_grad()
    start = time.perf_counter()
    moe_losses.cross_entropy(model.mix(x).combine("probabilities"), labels).backward()
    return time.perf_counter() - start


def peak_mebibytes(way: str) -> float:
    """Return by how much one pass raises the peak memory of this process, which is new."""
    inputs = build()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds(way, *inputs)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * MIB_PER_UNIT


def main() -> None:
    """Measure in turns and print."""
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        peaks = pool.map(peak_mebibytes, IS_SPARSE, chunksize=1)
    inputs = build()
    times: dict[str, list[float]] = {way: [] for way in IS_SPARSE}
    for turn in range(ROUNDS + 1):
        for way, measured in times.items():
            passed = seconds(way, *inputs)
            if turn > 0:  # the first one warms up
                measured.append(passed)
    for (way, measured), peak in zip(times.items(), peaks, strict=True):
        print(f"{way:>6}: {statistics.median(measured):6.3f} s, peak memory {peak:6.0f} MiB")
    ratios = [slow / fast for slow, fast in zip(times["dense"], times["sparse"], strict=True)]
    print(
        f"sparse is {statistics.median(ratios):.1f} times as fast (from {min(ratios):.1f} to "
        f"{max(ratios):.1f}) on {torch.get_num_threads()} threads"
    )


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__.split("\n")[0]).parse_args()
    main()
