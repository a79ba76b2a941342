"""Every architecture once, with small settings, and a comparison of their runs."""
