"""Tests of models.inspection."""
