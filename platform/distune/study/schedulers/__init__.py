"""Schedulers: early stopping of trials."""
