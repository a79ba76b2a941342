"""`python -m experiments.doctor`."""

from experiments.doctor.config import DoctorConfig
from harness.command_line import launch

if __name__ == "__main__":
    launch(DoctorConfig)
