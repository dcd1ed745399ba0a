"""Prototypes (PGM): candidate features, selection, and the module that keeps them up to date."""
