"""Tests of the comparison over numbers of experts."""
