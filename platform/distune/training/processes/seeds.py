"""Random numbers of the processes of a trial: others in each, and the same after a resume."""

from __future__ import annotations

import numpy as np

from distune.collectives import num_processes, rank
from distune.training.rng_state import RngState


def seed_processes(rng: RngState, seed: int, *, epoch: int) -> None:
    """Seed the random numbers of a student at the start of an epoch; in one process, they continue instead.

    A checkpoint holds those of the first process alone.

    Args:
        rng: of the student.
        seed: of the trial.
        epoch: that begins, from 1.
    """
    if num_processes() > 1:
        rng.seed(int(np.random.SeedSequence([seed, epoch, rank()]).generate_state(1)[0]))
