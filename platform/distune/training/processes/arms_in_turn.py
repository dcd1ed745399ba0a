"""The arms of a comparison on several GPUs: trained one after the other, each in several processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from distune.records import EpochReport, TrialSpec
from distune.training.open_run import open_run
from distune.training.trial_folder import TrialFolder
from distune.training.trial_protocol import TrialRun


class ArmsInTurn:
    """Trainings under one seed, of which the first that has epochs left is open. See ``ArmsRun`` and ``JointRun``.

    Args:
        specs: of the trainings.
        num_processes: processes of each; None is one for each GPU.
    """

    def __init__(self, specs: Sequence[TrialSpec], *, num_processes: int | None = None) -> None:
        self._specs = {spec.key: spec for spec in specs}
        self._num_processes = num_processes
        self._open_key: str | None = None
        self._run: TrialRun | None = None
        self._left = [spec.key for spec in specs if _num_epochs(spec) < spec.num_epochs]
        self._notes: dict[str, Sequence[str]] = {}

    @property
    def notes(self) -> Mapping[str, Sequence[str]]:
        """Key to messages for the user about the checkpoints of the trainings that were opened so far."""
        return self._notes

    @property
    def behind(self) -> tuple[str, ...]:
        """Keys of the trainings that have epochs left."""
        return tuple(self._left)

    def run_epoch(self) -> Mapping[str, EpochReport | Exception]:
        """Train the open one for one epoch. One that raised is dropped."""
        key = self._left[0]
        answers: dict[str, EpochReport | Exception] = {}
        try:
            run = self._opened(key)
            if run.epochs_done < self._specs[key].num_epochs:  # else only the record of its last epoch was missing
                answers[key] = run.run_epoch()
            is_over = run.epochs_done >= self._specs[key].num_epochs
        except Exception as error:
            answers[key], is_over = error, True
        if is_over:
            self.drop(key)
        return answers

    def drop(self, key: str) -> None:
        """End a training."""
        if key in self._left:
            self._left.remove(key)
        if key == self._open_key:
            self.close()

    def close(self) -> None:
        """End the processes of the open one."""
        run, self._run, self._open_key = self._run, None, None
        if run is not None:
            run.close()

    def _opened(self, key: str) -> TrialRun:
        if self._run is None:
            self._run, self._open_key = open_run(self._specs[key], num_processes=self._num_processes), key
            if self._run.notes:
                self._notes[key] = self._run.notes
        return self._run


def _num_epochs(spec: TrialSpec) -> int:
    """Return the number of epochs on record. The checkpoint may have one more."""
    reports = TrialFolder.of(spec).reports()
    return reports[-1].epoch if reports else 0
