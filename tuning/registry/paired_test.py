"""Whether a challenger is better than the champion: a sequential test of paired differences.

Both are trained with the same new seeds, and so on the same data: the differences of their metric
are paired. After each seed from the third on, Student's t of the differences is looked at: the
challenger wins where it exceeds that look's critical value, and has lost where the mean difference
is zero or less, or ten seeds were not enough.

Each look could err. The critical values are those with which, of 12 million simulated comparisons
of equals with normal differences, 0.05 / 8 are promoted at each of the eight looks: a risk of 5 %
in all, spent in equal parts (Lan & DeMets, "Discrete sequential boundaries for clinical trials",
1983; the uniform spending function).
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Literal

from harness.training.metrics import decimal

CRITICAL_T = {3: 8.87, 4: 4.91, 5: 3.74, 6: 3.19, 7: 2.86, 8: 2.64, 9: 2.48, 10: 2.35}
"""What t has to exceed after so many seeds."""
MIN_SEEDS, MAX_SEEDS = min(CRITICAL_T), max(CRITICAL_T)

Verdict = Literal["better", "not better", "undecided"]


def verdict(differences: Sequence[float]) -> Verdict:
    """Return what the differences say, challenger minus champion, where more is better."""
    count = len(differences)
    if count < MIN_SEEDS:
        return "undecided"
    if statistics.fmean(differences) <= 0:
        return "not better"
    if student_t(differences) > CRITICAL_T[count]:
        return "better"
    return "undecided" if count < MAX_SEEDS else "not better"


def student_t(differences: Sequence[float]) -> float:
    """Return the mean difference over its standard error; infinite where all are equal."""
    mean, std = statistics.fmean(differences), statistics.stdev(differences)
    if std == 0:
        return math.copysign(math.inf, mean) if mean else 0.0
    return mean / (std / math.sqrt(len(differences)))


def reason(differences: Mapping[int, float], opponent: str) -> str:
    """Return the verdict on differences by seed in one line, with its numbers."""
    values = list(differences.values())
    seeds = f"seeds {min(differences)} to {max(differences)}"
    mean, std = statistics.fmean(values), statistics.stdev(values)
    numbers = f"{decimal(mean)} ± {decimal(std, beside=mean)} over {seeds}"
    t, critical = student_t(values), CRITICAL_T[len(values)]
    if mean <= 0:
        return f"not better than {opponent} by paired differences: {numbers}"
    is_better = "better than" if t > critical else "not certainly better than"
    comparison = f"t = {t:.2f} {'exceeds' if t > critical else 'does not exceed'} {critical}"
    return f"{is_better} {opponent} by paired differences: {numbers}, {comparison}"
