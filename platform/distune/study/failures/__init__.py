"""Failures: why a trial failed, whether it is retried, and trials that report identical numbers."""
