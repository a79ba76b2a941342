"""`python -m experiments.rnn`."""

from experiments.rnn.config import RNNConfig
from harness.command_line import launch

if __name__ == "__main__":
    launch(RNNConfig)
