"""How trained models are asked: one file per architecture, each with its `PREDICTION`."""
