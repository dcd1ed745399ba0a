"""Confirmation: train the best trials again on fresh seeds beside controls, and measure the gain with its interval."""
