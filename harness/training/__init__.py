"""Training: the loop, its schedules and optimisers, checkpoints, devices."""
