"""Tests of experiments/rnn."""
