"""Tests of experiments/rnn_text."""
