"""What 32 restarts cost beside one: both trained in this process, by turns, with the defaults.

python -m benchmarks.restarts
"""

import statistics
import time

from experiments.moe import MixtureOfLinearExperts, MoEConfig
from harness.training.train import train


def seconds_per_epoch(restarts: int, num_epochs: int = 4) -> float:
    """Train with so many restarts and return the median time of an epoch."""
    config = MoEConfig(restarts=restarts, num_epochs=num_epochs, animation=False)
    history = train(MixtureOfLinearExperts(), config).history
    return statistics.median(float(s) for s in history.column("epoch_seconds"))


def main() -> None:
    """Print the ratio, the median of five rounds."""
    seconds_per_epoch(32)  # warm up
    ratios = []
    for _ in range(5):
        began = time.perf_counter()
        one, many = seconds_per_epoch(1), seconds_per_epoch(32)
        ratios.append(many / one)
        print(
            f"1 restart {one:.3f} s/epoch, 32 restarts {many:.3f} s/epoch: {many / one:.2f} times "
            f"(round of {time.perf_counter() - began:.1f} s)"
        )
    print(f"32 restarts cost {statistics.median(ratios):.2f} times one")


if __name__ == "__main__":
    main()
