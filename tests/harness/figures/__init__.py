"""Tests of harness.figures."""
