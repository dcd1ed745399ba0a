"""Default size of a confirmation. Imports nothing, so that the command line can show it fast."""

DEFAULT_TOP = 4
"""Trials of which one is chosen and compared with its control."""
DEFAULT_SEEDS = 5
"""Fresh seeds for the chosen trial and its control. With 4 trials, the choice takes 9 runs and the comparison 10."""
DEFAULT_MAX_SEEDS = 20
"""Most seeds of a confirmation that continues until it is decided."""
DEFAULT_MARGIN = 0.5
"""Gains below this many points do not matter: the question is decided as well when the interval ends below it."""
