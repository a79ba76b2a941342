"""Figures that several experiments draw: arrays in, matplotlib Figure out."""
