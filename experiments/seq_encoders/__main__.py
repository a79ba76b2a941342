"""`python -m experiments.seq_encoders`."""

from experiments.seq_encoders.config import EncodersConfig
from harness.command_line import launch

if __name__ == "__main__":
    launch(EncodersConfig)
