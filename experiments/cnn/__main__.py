"""`python -m experiments.cnn`."""

from experiments.cnn.config import CNNConfig
from harness.command_line import launch

if __name__ == "__main__":
    launch(CNNConfig)
