"""Schedulers: which trials are stopped early."""
