"""`python -m experiments.main`."""

from experiments.main.config import MainConfig
from harness.command_line import launch

if __name__ == "__main__":
    launch(MainConfig)
