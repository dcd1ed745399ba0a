"""A trial in a Ray worker: a class Trainable that trains one epoch per step and can be given the next trial."""

from __future__ import annotations

import os
from typing import Any

from ray import tune

from distune.errors import TrialError
from distune.records import TrialSpec
from distune.study.runners.epoch_timeout import kill_after
from distune.study.runners.trial_attempt import Attempt, StepResult

SPEC, SIMULATE, ALONE, RESOURCES, RESULT = "spec", "simulate", "alone", "resources", "result"


class TrialTrainable(tune.Trainable):
    """Works on one trial after the other.

    An error of a trial is a result, not an exception: the worker is fine and can be reused. Only after an error that
    spoils the process does it raise, which makes Ray replace the worker. An epoch that takes too long ends it at once.

    Opening a trial may take long and may fail, so the first step does it, and not Ray's set-up.
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Take a trial. Called once in the life of a worker."""
        spec: TrialSpec = config[SPEC].spec
        self._attempt = Attempt(spec, simulate=config[SIMULATE], deadline=kill_after)
        # Ray sends the configuration back with every result; nobody needs it.
        self.config = {}
        if not config[SIMULATE]:
            limit_threads(float(spec.experiment["resources"]["cpus_per_trial"]))

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take another trial, with nothing left of the one before."""
        self._attempt.close()
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Train an epoch. The result holds a ``StepResult``, whole: metric names have slashes, which Ray splits at."""
        result: StepResult = self._attempt.step()
        if result.is_spoilt:
            raise TrialError(result.failure)
        return {RESULT: result}

    def cleanup(self) -> None:
        """Give back what the last trial holds."""
        self._attempt.close()


def limit_threads(cpus: float) -> None:
    """Let torch use as many threads as the trial has CPUs, at least one."""
    threads = max(1, int(cpus))
    os.environ["OMP_NUM_THREADS"] = str(threads)
    import torch  # after the variable is set, and only where training is real

    torch.set_num_threads(threads)
