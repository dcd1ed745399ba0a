"""Datasets, splits, transforms and the stream of training batches."""
