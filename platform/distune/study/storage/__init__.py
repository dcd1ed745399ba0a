"""Storage: Optuna's records of the trials of a study."""
