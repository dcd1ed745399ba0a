"""The trials of one worker: students that share a teacher and a stream of batches, and join and leave between epochs.

A trial that starts while others train joins the stream where it is: its first epoch is the stream's n-th. Each epoch
records which one it was (``stream/epoch``), so that the trial can be repeated alone, bit for bit on the CPU.
"""

from __future__ import annotations

from collections.abc import Mapping

from distune.config.experiment import Experiment
from distune.config.hashing import content_hash
from distune.config.load import parse_experiment
from distune.data.build import build_splits
from distune.detectors.taps import Detector
from distune.records import EpochReport, TrialSpec
from distune.training.builder import TrialBuilder
from distune.training.checkpointed_student import CheckpointedStudent
from distune.training.cohort import Cohort
from distune.training.precision import pick_device
from distune.training.solo_run import feature_folder
from distune.training.trial_folder import TrialFolder
from distune.training.trial_protocol import OpenedTrial


class TrialCohort:
    """Trains trials side by side: those of equal data, batches, teacher, precision and seed share a cohort.

    It is a ``TrialHost``. The weights of a student do not depend on the other students, and an error in one does not
    affect the others.
    """

    def __init__(self) -> None:
        self._groups: list[_Group] = []

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
            group = _Group(experiment, identity, seed=spec.seed)
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

    def _close_empty(self) -> None:
        for group in [each for each in self._groups if each.is_empty]:
            group.close()
            self._groups.remove(group)


def group_identity(experiment: Experiment, *, seed: int) -> str:
    """Return a hash of what trials have in common that share batches and the teacher's forward pass."""
    shared = {
        "data": experiment.data.model_dump(mode="json"),
        "teacher": experiment.teacher.model_dump(mode="json"),
        "batch_size": experiment.training.batch_size,
        "precision": experiment.training.precision,
        "loader_workers": experiment.resources.loader_workers,
        "masks": experiment.student.learns_masks,
        "seed": seed,
    }
    return content_hash(shared)


class _Group:
    """One cohort, its stream and its teacher."""

    def __init__(self, experiment: Experiment, identity: str, *, seed: int) -> None:
        self._identity, self._training = identity, experiment.training
        self._splits = build_splits(experiment.data, with_masks=experiment.learns_masks)
        self._device = pick_device(experiment.resources.gpus_per_trial)
        host = TrialBuilder(experiment, self._splits, self._device)
        self._stream = host.stream(experiment.training, seed=seed, with_masks=experiment.student.learns_masks)
        self._cohort: Cohort = host.cohort(experiment.training, self._stream, None, epochs_done=0)
        self._teacher: Detector | None = None
        self._teacher_weights: str | None = None
        self._members: dict[str, CheckpointedStudent] = {}
        self._joined: set[str] = set()
        self._ahead: dict[str, int] = {}

    @property
    def is_empty(self) -> bool:
        return not self._members

    def takes(self, identity: str, teacher_weights: str | None) -> bool:
        return identity == self._identity and (
            teacher_weights is None or self._teacher_weights in (None, teacher_weights)
        )

    def open(self, spec: TrialSpec, experiment: Experiment) -> OpenedTrial:
        builder = TrialBuilder(experiment, self._splits, self._device, feature_folder(spec.teacher_weights))
        member = CheckpointedStudent(
            spec.key,
            builder,
            experiment.student,
            experiment.training,
            seed=spec.seed,
            steps_per_epoch=len(self._stream),
            teacher=self._teacher_of(builder, spec) if experiment.distillation.is_active else None,
            folder=TrialFolder.of(spec),
            metric=spec.metric,
            num_pictures=experiment.tracking.pictures,
            costs=experiment.search.costs,
        )
        self._members[spec.key] = member
        return OpenedTrial(member.epochs_done, tuple(member.notes))

    def run_epoch(self) -> Mapping[str, EpochReport | Exception]:
        self._gather()
        outcomes: dict[str, EpochReport | Exception] = {}
        for key, result in self._cohort.run_epoch().items():
            try:
                outcomes[key] = self._members[key].record(result)
            except Exception as error:
                outcomes[key] = error
            if result.error is not None:
                self._joined.discard(key)  # the cohort has removed it
            if isinstance(outcomes[key], Exception):
                self.leave(key)
        return outcomes

    def leave(self, key: str) -> None:
        if key in self._joined:
            self._joined.discard(key)
            self._cohort.leave(key)
        self._members.pop(key, None)

    def close(self) -> None:
        for key in list(self._members):
            self.leave(key)
        self._stream.close()

    def _gather(self) -> None:
        """Let members join. After an interruption those that are behind start, and those that are ahead wait."""
        if not self._joined:
            resumed = {key: each.next_stream_epoch for key, each in self._members.items() if each.epochs_done > 0}
            self._cohort.epochs_done = min(resumed.values(), default=0)
            self._ahead = {key: epoch for key, epoch in resumed.items() if epoch > self._cohort.epochs_done}
        for key, member in self._members.items():
            if key not in self._joined and self._ahead.get(key, 0) <= self._cohort.epochs_done:
                self._cohort.join(member.student)
                self._joined.add(key)

    def _teacher_of(self, builder: TrialBuilder, spec: TrialSpec) -> Detector:
        """Return the shared teacher; build it for the first trial that is distilled."""
        if self._teacher is None:
            self._teacher, self._teacher_weights = builder.teacher(spec.teacher_weights), spec.teacher_weights
            passes = builder.feature_passes(self._teacher, self._stream, self._training)
            self._cohort.set_teacher(self._teacher, passes)
        else:
            builder.check_teacher(self._teacher)
        return self._teacher
