"""`python -m experiments.ui`."""

from experiments.ui.config import UiConfig
from harness.command_line import launch

if __name__ == "__main__":
    launch(UiConfig)
