"""Simulated trials side by side in one process; see ``TrialHost``."""

from __future__ import annotations

from distune.records import EpochReport, TrialSpec
from distune.study.runners.simulation import SimulatedTrial
from distune.training.trial_protocol import OpenedTrial


class SimulatedHost:
    """Several simulated trials. Their epochs are simulated one after the other."""

    def __init__(self) -> None:
        self._trials: dict[str, SimulatedTrial] = {}

    def open(self, spec: TrialSpec) -> OpenedTrial:
        """Open a trial."""
        trial = self._trials[spec.key] = SimulatedTrial(spec)
        return OpenedTrial(trial.epochs_done, trial.notes)

    def run_epoch(self) -> dict[str, EpochReport | Exception]:
        """Simulate an epoch of each trial. A trial with an error is closed."""
        outcomes: dict[str, EpochReport | Exception] = {}
        for key, trial in list(self._trials.items()):
            try:
                outcomes[key] = trial.run_epoch()
            except Exception as error:
                outcomes[key] = error
                self.leave(key)
        return outcomes

    def leave(self, key: str) -> None:
        """Close a trial."""
        self._trials.pop(key, None)

    def close(self) -> None:
        """Close all trials."""
        self._trials.clear()
