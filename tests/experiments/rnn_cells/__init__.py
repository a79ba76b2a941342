"""Tests of experiments/rnn_cells."""
