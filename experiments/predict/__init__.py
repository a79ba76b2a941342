"""Predictions of a trained model, from inputs as people have them."""
