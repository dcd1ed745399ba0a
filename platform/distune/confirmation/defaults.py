"""Default size of a confirmation. Apart from all else, so that the command line can show it without loading anything."""

DEFAULT_TOP = 3
"""Trials that are trained again."""
DEFAULT_SEEDS = 5
"""Fresh seeds for each of them."""
