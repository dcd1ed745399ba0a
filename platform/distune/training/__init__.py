"""Training: the cohort loop, teachers, evaluation, checkpoints. Knows neither Ray, Optuna nor MLflow."""
