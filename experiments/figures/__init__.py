"""Arrays in, matplotlib figures out; one file per architecture, and what they share."""
