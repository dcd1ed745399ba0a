"""distune: hyperparameter studies of detector distillation on Ray Tune, Optuna and MLflow."""

__version__ = "0.1.0"
