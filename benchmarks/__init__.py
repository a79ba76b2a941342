"""Measurements of speed: both sides in one run, the result a ratio."""
