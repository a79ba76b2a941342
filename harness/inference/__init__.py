"""Predictions of trained models from inputs as people have them."""
