"""`python -m experiments.seq_classification`."""

from experiments.seq_classification.config import SequenceConfig
from harness.command_line import launch

if __name__ == "__main__":
    launch(SequenceConfig)
