"""`python -m experiments.compare`."""

from experiments.compare.config import CompareConfig
from harness.command_line import launch

if __name__ == "__main__":
    launch(CompareConfig)
