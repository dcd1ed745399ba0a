"""A trial in a Ray worker: a class Trainable that trains one epoch per step and can be reused for the next trial."""

from __future__ import annotations

import os
from typing import Any

from ray import tune

from distune.errors import TrialError
from distune.records import TrialSpec
from distune.study.runners.epoch_timeout import kill_after
from distune.study.runners.trial_attempt import StepResult, TrialAttempt

SPEC, SIMULATE, EXCLUSIVE, RESOURCES, RESULT = "spec", "simulate", "exclusive", "resources", "result"


class TrialTrainable(tune.Trainable):
    """Runs one trial after the other.

    An error of a trial is returned as a result, so that the worker can be reused. An error that corrupts the process is
    raised, which makes Ray replace the worker. An epoch that takes too long ends the process.

    Opening a trial may take long and may fail. The first step does it, because Ray's set-up must not fail.
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Prepare the first trial. Called once per worker."""
        spec: TrialSpec = config[SPEC].spec
        self._attempt = TrialAttempt(spec, simulate=config[SIMULATE], time_limit=kill_after)
        # Ray would send the configuration back with every result.
        self.config = {}
        if not config[SIMULATE]:
            limit_threads(float(spec.experiment["resources"]["cpus_per_trial"]))

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Prepare the next trial, with nothing left of the one before."""
        self._attempt.close()
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Train an epoch. Return the ``StepResult`` as one value, because Ray splits metric names at slashes."""
        result: StepResult = self._attempt.step()
        if result.is_process_corrupted:
            raise TrialError(result.failure)
        return {RESULT: result}

    def cleanup(self) -> None:
        """Release what the last trial holds."""
        self._attempt.close()


def limit_threads(cpus: float) -> None:
    """Set the number of torch threads to the CPUs of a trial, at least one."""
    threads = max(1, int(cpus))
    os.environ["OMP_NUM_THREADS"] = str(threads)
    import torch  # after the variable is set, and only for real training

    torch.set_num_threads(threads)
