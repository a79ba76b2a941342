"""Metrics of short runs, recorded and compared: a change of structure must not change them."""
