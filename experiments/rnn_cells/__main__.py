"""`python -m experiments.rnn_cells`."""

from experiments.rnn_cells.config import RNNCellsConfig
from harness.command_line import launch

if __name__ == "__main__":
    launch(RNNCellsConfig)
