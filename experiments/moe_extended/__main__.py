"""`python -m experiments.moe_extended`."""

from experiments.moe_extended.config import MoEExtendedConfig
from harness.command_line import launch

if __name__ == "__main__":
    launch(MoEExtendedConfig)
