"""Tests of the command `data`."""
