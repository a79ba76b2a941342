"""Studies of hyperparameters: many runs, compared."""
