"""Tests of `predict`."""
