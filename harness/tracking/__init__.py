"""Tracking with MLflow: runs, their life, and the models they log."""
