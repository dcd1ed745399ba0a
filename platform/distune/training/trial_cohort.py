"""The trials of one worker: students that share a teacher and a stream of batches, and join and leave between epochs.

A trial that starts while others train joins the stream where it is: its first epoch is the stream's n-th. Each epoch
records which one it was (``stream/epoch``), so that the trial can be repeated alone, bit for bit on the CPU.
"""

from __future__ import annotations

from distune.config.cohort_groups import group_identity
from distune.config.experiment import Experiment
from distune.config.load import parse_experiment
from distune.records import EpochReport, TrialSpec
from distune.training.cohort_group import CohortGroup
from distune.training.solo_run import open_teacher_cache
from distune.training.teacher_cache import TeacherCache
from distune.training.trial_protocol import OpenedTrial


class TrialCohort:
    """Trains trials side by side: those of equal data, batches, teacher, precision and seed share a cohort.

    It is a ``TrialHost``. The weights of a student do not depend on the other students, and an error in one does not
    affect the others.

    Args:
        start_together: trials start with the stream's first epoch, and those that are ahead wait for the others.
        scores_only: neither draw detections nor measure costs.
    """

    def __init__(self, *, start_together: bool = False, scores_only: bool = False) -> None:
        self._start_together, self._scores_only = start_together, scores_only
        self._groups: list[CohortGroup] = []
        self._cache: TeacherCache | None = None

    def open(self, spec: TrialSpec) -> OpenedTrial:
        """Build the student of a trial; it trains in the next epoch.

        Args:
            spec: of a trial that is not open. If its folder holds a checkpoint, it resumes after that epoch.

        Returns:
            The epochs that it has done.

        Raises:
            DistuneError: data, weights or checkpoint are missing or do not fit.
        """
        experiment = parse_experiment(spec.experiment, source=f"trial {spec.key}")
        identity = group_identity(experiment, seed=spec.seed)
        group = next((each for each in self._groups if each.takes(identity, spec.teacher_weights)), None)
        if group is None:
            group = CohortGroup(
                experiment,
                identity,
                seed=spec.seed,
                start_together=self._start_together,
                scores_only=self._scores_only,
                open_cache=self._open_cache,
            )
            self._groups.append(group)
        try:
            return group.open(spec, experiment)
        finally:
            self._close_empty()

    def run_epoch(self) -> dict[str, EpochReport | Exception]:
        """Train and evaluate the open trials for one epoch.

        Returns:
            Key to the epoch's report, which is on disk with its checkpoint; or to the error, after which the trial is
            closed. After an interruption, trials that are ahead wait for the others and have no entry.
        """
        outcomes: dict[str, EpochReport | Exception] = {}
        for group in self._groups:
            outcomes |= group.run_epoch()
        self._close_empty()
        return outcomes

    def leave(self, key: str) -> None:
        """Close a trial and release its memory. Ignore one that is not open."""
        for group in self._groups:
            group.leave(key)
        self._close_empty()

    def close(self) -> None:
        """Close all trials, and stop the processes that load images."""
        for group in self._groups:
            group.close()
        self._groups.clear()
        if self._cache is not None:
            self._cache.close()

    def _open_cache(self, experiment: Experiment, teacher_weights: str | None) -> TeacherCache | None:
        """Return the cache of the worker. It stays when all trials have left: the next may see the same."""
        if self._cache is None:
            self._cache = open_teacher_cache(experiment, teacher_weights)
        return self._cache

    def _close_empty(self) -> None:
        for group in [each for each in self._groups if each.is_empty]:
            group.close()
            self._groups.remove(group)
