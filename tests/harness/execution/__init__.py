"""Tests of running many trainings at once."""
