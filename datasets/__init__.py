"""Data sets; they know no model."""
