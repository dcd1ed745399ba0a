"""Default size of a confirmation. Imports nothing, so that the command line can show it fast."""

DEFAULT_TOP = 3
"""Trials that are trained again."""
DEFAULT_SEEDS = 5
"""Fresh seeds for each of them."""
