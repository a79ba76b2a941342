"""What all experiments share: configuration, the training loop, checkpoints, devices, tracking."""
