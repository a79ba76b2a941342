"""`python -m experiments.moe`."""

from experiments.moe.config import MoEConfig
from harness.command_line import launch

if __name__ == "__main__":
    launch(MoEConfig)
