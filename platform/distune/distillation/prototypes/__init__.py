"""Prototypes (PGM): candidate features, selection, and the module that refreshes them."""
