"""The MLflow UI, with links to what is in the store."""
