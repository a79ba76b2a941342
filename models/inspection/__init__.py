"""Activations and gradients of trained networks, which stay unchanged."""
