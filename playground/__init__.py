"""Trained models to play with in a browser: a page for each architecture."""
