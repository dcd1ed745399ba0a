"""Storage: where Optuna keeps the trials of a study."""
