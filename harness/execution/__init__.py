"""Many trainings at once: worker processes on this machine."""
