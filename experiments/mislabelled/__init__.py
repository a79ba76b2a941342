"""Photographs whose label is probably wrong."""
