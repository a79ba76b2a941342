"""Tests of the search for mislabelled photographs."""
