"""Whether everything trains on the GPU of this machine, and how fast: `make gpu-check`."""

from benchmarks.gpu_check.stand_ins import stand_in

MISSING = stand_in()
"""Packages that are not installed; without MLflow and Optuna nothing is tracked."""
