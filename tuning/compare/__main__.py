"""`python -m tuning.compare`: tune each value of a parameter alike, and compare them."""

from harness.command_line import launch
from tuning.compare.config import TunedComparisonConfig

if __name__ == "__main__":  # workers import this file, too
    launch(TunedComparisonConfig)
