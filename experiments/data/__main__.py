"""`python -m experiments.data`."""

from experiments.data.config import DataConfig
from harness.command_line import launch

if __name__ == "__main__":
    launch(DataConfig)
