"""Tests of experiments.harness."""
