"""Tests of the comparison of encoders."""
