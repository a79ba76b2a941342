"""`python -m tuning.registry`."""

from harness.command_line import launch
from tuning.registry.config import RegistryConfig

if __name__ == "__main__":
    launch(RegistryConfig)
