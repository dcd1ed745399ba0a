"""The study: search with Optuna, ASHA, runners, sessions and status."""
