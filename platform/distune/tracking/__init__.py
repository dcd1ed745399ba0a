"""Tracking: the Tracker protocol, and MLflow behind it."""
