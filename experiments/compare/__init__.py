"""Tracked runs side by side: by group, over seeds, against time and against parameters."""
