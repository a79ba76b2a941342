"""`python -m experiments.ensemble`."""

from experiments.ensemble.config import EnsembleConfig
from harness.command_line import launch

if __name__ == "__main__":
    launch(EnsembleConfig)
