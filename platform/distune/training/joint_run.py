"""Students trained side by side under one seed, each with its own folder and budget: the arms of a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from distune.records import EpochReport, TrialSpec
from distune.training.trial_cohort import TrialCohort


class JointRun:
    """A cohort whose students start together and leave when they have done their epochs.

    Folders with checkpoints resume after each student's last epoch. If the last run was interrupted while it wrote
    checkpoints, the students that are ahead wait for the others.

    Args:
        specs: of the students, with equal seed. Those of equal data, batch size, precision and teacher share batches
            and the teacher's forward pass.
    """

    def __init__(self, specs: Sequence[TrialSpec]) -> None:
        assert len({spec.seed for spec in specs}) == 1
        self._cohort = TrialCohort(start_together=True, scores_only=True)
        self._budgets = {spec.key: spec.num_epochs for spec in specs}
        self._in_training: set[str] = set()
        self._failed_to_open: dict[str, Exception] = {}
        self._notes: dict[str, Sequence[str]] = {}
        for spec in specs:
            try:
                self._open(spec)
            except Exception as error:
                self._failed_to_open[spec.key] = error

    @property
    def notes(self) -> Mapping[str, Sequence[str]]:
        """Key to messages for the user about the state of that student's checkpoints."""
        return self._notes

    @property
    def behind(self) -> tuple[str, ...]:
        """Keys of the students that have epochs left to train."""
        return (*self._failed_to_open, *(key for key in self._budgets if key in self._in_training))

    def run_epoch(self) -> Mapping[str, EpochReport | Exception]:
        """Train and evaluate the students with the fewest epochs for one epoch.

        Returns:
            Key to the epoch's report, which is on disk with its checkpoint; or to the error, after which the student is
            dropped. If students could not be opened, the first call trains nothing and returns their errors.
        """
        if self._failed_to_open:
            errors, self._failed_to_open = self._failed_to_open, {}
            return errors
        outcomes = self._cohort.run_epoch()
        for key, outcome in outcomes.items():
            if isinstance(outcome, Exception) or outcome.epoch >= self._budgets[key]:
                self.drop(key)
        return outcomes

    def drop(self, key: str) -> None:
        """Stop training a student."""
        self._in_training.discard(key)
        self._cohort.leave(key)

    def close(self) -> None:
        """Stop the processes that load images."""
        self._cohort.close()

    def _open(self, spec: TrialSpec) -> None:
        opened = self._cohort.open(spec)
        if opened.notes:
            self._notes[spec.key] = opened.notes
        self._in_training.add(spec.key)
        if opened.epochs_done >= spec.num_epochs:
            self.drop(spec.key)
