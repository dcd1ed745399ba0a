"""One cohort of trials with its stream, its teacher and the folders of its students."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from distune.config.experiment import Experiment
from distune.data.build import build_splits
from distune.detectors.taps import Detector
from distune.records import EpochReport, TrialSpec
from distune.training.builder import TrialBuilder
from distune.training.checkpointed_student import CheckpointedStudent
from distune.training.cohort import Cohort
from distune.training.precision import pick_device
from distune.training.solo_run import feature_folder
from distune.training.teacher_cache import TeacherCache
from distune.training.trial_folder import TrialFolder
from distune.training.trial_protocol import OpenedTrial

OpenCache = Callable[[Experiment, str | None], TeacherCache | None]
"""Returns the cache of a worker, given a trial's experiment and the file of the teacher's weights; None for none."""


class CohortGroup:
    """Trials that share a stream of batches and a teacher, each with its folder.

    Args:
        experiment: of any of the trials.
        identity: of what they share; see ``group_identity``.
        seed: of the stream.
        start_together: new trials start with the stream's first epoch, and those that are ahead wait for them; else
            they join where the stream is.
        scores_only: neither draw detections nor measure costs.
        open_cache: returns the cache of the worker, for the teacher's maps.
    """

    def __init__(
        self,
        experiment: Experiment,
        identity: str,
        *,
        seed: int,
        start_together: bool,
        scores_only: bool,
        open_cache: OpenCache,
    ) -> None:
        self._identity, self._training = identity, experiment.training
        self._start_together, self._scores_only = start_together, scores_only
        self._splits = build_splits(experiment.data, with_masks=experiment.learns_masks)
        self._device = pick_device(experiment.resources.gpus_per_trial)
        host = TrialBuilder(experiment, self._splits, self._device)
        self._stream = host.stream(experiment.training, seed=seed, with_masks=experiment.student.learns_masks)
        self._cohort: Cohort = host.cohort(experiment.training, self._stream, None, epochs_done=0)
        self._open_cache = open_cache
        self._teacher: Detector | None = None
        self._teacher_weights: str | None = None
        self._members: dict[str, CheckpointedStudent] = {}
        self._joined: set[str] = set()
        self._ahead: dict[str, int] = {}

    @property
    def is_empty(self) -> bool:
        """True without trials."""
        return not self._members

    def takes(self, identity: str, teacher_weights: str | None) -> bool:
        """Return whether a trial shares what the trials here share."""
        return identity == self._identity and (
            teacher_weights is None or self._teacher_weights in (None, teacher_weights)
        )

    def open(self, spec: TrialSpec, experiment: Experiment) -> OpenedTrial:
        """Build the student of a trial, which trains in the next epoch; see ``TrialCohort.open``."""
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
            num_pictures=0 if self._scores_only else experiment.tracking.pictures,
            costs=() if self._scores_only else experiment.search.costs,
        )
        self._members[spec.key] = member
        return OpenedTrial(member.epochs_done, tuple(member.notes))

    def run_epoch(self) -> Mapping[str, EpochReport | Exception]:
        """Train and evaluate the trials for one epoch; see ``TrialCohort.run_epoch``."""
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
        """Close a trial and release its memory. Ignore one that is not here."""
        if key in self._joined:
            self._joined.discard(key)
            self._cohort.leave(key)
        self._members.pop(key, None)

    def close(self) -> None:
        """Close all trials, and stop the processes that load images."""
        for key in list(self._members):
            self.leave(key)
        self._stream.close()

    def _gather(self) -> None:
        """Let members join. After an interruption those that are behind start, and those that are ahead wait."""
        if not self._joined:
            fixed = {
                key: each.next_stream_epoch
                for key, each in self._members.items()
                if each.epochs_done > 0 or self._start_together
            }
            self._cohort.epochs_done = min(fixed.values(), default=0)
            self._ahead = {key: epoch for key, epoch in fixed.items() if epoch > self._cohort.epochs_done}
        for key, member in self._members.items():
            if key not in self._joined and self._ahead.get(key, 0) <= self._cohort.epochs_done:
                self._cohort.join(member.student)
                self._joined.add(key)

    def _teacher_of(self, builder: TrialBuilder, spec: TrialSpec) -> Detector:
        """Return the shared teacher; build it for the first trial that is distilled."""
        if self._teacher is None:
            teacher = builder.teacher(spec.teacher_weights)
            self._cohort.set_teacher(
                teacher,
                builder.feature_passes(teacher, self._stream, self._training),
                cache=self._open_cache(builder.experiment, spec.teacher_weights),
                cache_identity=f"{self._identity}/{spec.teacher_weights}",
            )
            self._teacher, self._teacher_weights = teacher, spec.teacher_weights  # only if the cohort has it
        else:
            builder.check_teacher(self._teacher)
        return self._teacher
