"""Where samples come from; knows no model."""
