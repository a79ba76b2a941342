"""Whether everything trains on the GPU of this machine, and how fast: `make gpu-check`."""
