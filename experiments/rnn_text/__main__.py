"""`python -m experiments.rnn_text`."""

from experiments.rnn_text.config import RNNTextConfig
from harness.command_line import launch

if __name__ == "__main__":
    launch(RNNTextConfig)
