"""Default size of a confirmation. In a file of its own: the command line shows it without loading anything else."""

DEFAULT_TOP = 3
"""Trials that are trained again."""
DEFAULT_SEEDS = 5
"""Fresh seeds for each of them."""
