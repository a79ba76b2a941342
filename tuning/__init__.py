"""Studies of hyperparameters: search, finals, registry. Optuna is used here and nowhere else."""
