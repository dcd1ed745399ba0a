"""The common parts of the kinds of generated data."""
