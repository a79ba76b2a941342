"""`python -m experiments.mislabelled`."""

from experiments.mislabelled.config import MislabelledConfig
from harness.command_line import launch

if __name__ == "__main__":
    launch(MislabelledConfig)
