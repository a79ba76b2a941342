"""Tests of sequence classification."""
