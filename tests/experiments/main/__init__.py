"""Tests of `main`."""
