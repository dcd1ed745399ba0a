"""Default size of a confirmation. Imports nothing, so that the command line can show it fast."""

DEFAULT_TOP = 3
"""Trials of which one is chosen and compared with its control."""
DEFAULT_SEEDS = 5
"""Fresh seeds for the chosen trial and its control."""
DEFAULT_SELECTION_SEEDS = 3
"""Other seeds that choose among several trials. With them, 3 trials and 5 seeds are 19 runs. Earlier versions trained
all trials and the control on all seeds, 20 runs, and measured the winner on the students that had chosen it."""
DEFAULT_MAX_SEEDS = 20
"""Most seeds of a confirmation that continues until it is decided."""
DEFAULT_MARGIN = 0.5
"""Gains below this many points do not matter: the question is decided as well when the interval ends below it."""
