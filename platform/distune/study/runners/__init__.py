"""Runners: where and how trials are executed."""
