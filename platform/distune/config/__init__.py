"""Experiments and search spaces: schemas, loading, checking, hashing. Free of torch."""
