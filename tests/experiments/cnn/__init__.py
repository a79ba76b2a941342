"""Tests of the convolutional network."""
