"""`python -m tuning EXPERIMENT`: search its hyperparameters and register the best model."""

from harness.command_line import launch
from tuning.config import StudyConfig

if __name__ == "__main__":  # workers import this file, too
    launch(StudyConfig)
