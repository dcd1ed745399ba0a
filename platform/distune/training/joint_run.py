"""Students trained side by side under one seed, each with its own folder: the arms of a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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


class JointRun:
    """One cohort of students that share the order of images and the teacher's forward pass.

    Folders with checkpoints resume after each student's last epoch. If the last run was interrupted while it wrote
    checkpoints, the students that are ahead wait for the others.

    Args:
        specs: of the students, with equal seed, data, batch size, precision and teacher.
    """

    def __init__(self, specs: Sequence[TrialSpec]) -> None:
        experiments = {spec.key: parse_experiment(spec.experiment, source=f"run {spec.key}") for spec in specs}
        any_experiment = experiments[specs[0].key]
        shared = {(each.training.batch_size, each.training.precision) for each in experiments.values()}
        assert len({spec.seed for spec in specs}) == len(shared) == 1
        with_masks = any(experiment.student.learns_masks for experiment in experiments.values())
        splits = build_splits(any_experiment.data, with_masks=with_masks)
        device = pick_device(any_experiment.resources.gpus_per_trial)
        weights = next((spec.teacher_weights for spec in specs if spec.teacher_weights is not None), None)
        builders = {
            spec.key: TrialBuilder(experiments[spec.key], splits, device, feature_folder(spec.teacher_weights))
            for spec in specs
        }
        self._teacher, self._host = _open_teacher(builders, weights)
        training = any_experiment.training
        self._training, self._seed = training, specs[0].seed
        self._stream = self._host.stream(training, seed=self._seed, with_masks=with_masks)
        self._budgets = {spec.key: spec.num_epochs for spec in specs}
        self._members: dict[str, CheckpointedStudent] = {}
        self._failed_to_open: dict[str, Exception] = {}
        for spec in specs:
            try:
                self._members[spec.key] = self._open(spec, builders[spec.key])
            except Exception as error:
                self._failed_to_open[spec.key] = error
        self._dropped: set[str] = set()
        self._joined: set[str] = set()
        self._epochs_done = -1
        self._cohort: Cohort | None = None

    @property
    def notes(self) -> Mapping[str, Sequence[str]]:
        """Key to messages for the user about the state of that student's checkpoints."""
        return {key: member.notes for key, member in self._members.items() if member.notes}

    @property
    def behind(self) -> tuple[str, ...]:
        """Keys of the students that have epochs left to train."""
        return (*self._failed_to_open, *self._in_training())

    def run_epoch(self) -> Mapping[str, EpochReport | Exception]:
        """Train and evaluate the students with the fewest epochs for one epoch.

        Returns:
            Key to the epoch's report, which is on disk with its checkpoint; or to the error, after which the student is
            dropped. If students could not be opened, the first call trains nothing and returns their errors.
        """
        if self._failed_to_open:
            errors, self._failed_to_open = self._failed_to_open, {}
            return errors
        cohort = self._gather()
        outcomes: dict[str, EpochReport | Exception] = {}
        for key, result in cohort.run_epoch().items():
            try:
                outcomes[key] = self._members[key].record(result)
            except Exception as error:
                outcomes[key] = error
                self._dropped.add(key)
            if result.error is not None:
                self._joined.discard(key)  # the cohort has removed it
        self._epochs_done += 1
        for key in self._joined - set(self._in_training()):
            self._joined.discard(key)
            cohort.leave(key)
        return outcomes

    def drop(self, key: str) -> None:
        """Stop training a student."""
        self._dropped.add(key)
        if key in self._joined and self._cohort is not None:
            self._joined.discard(key)
            self._cohort.leave(key)

    def close(self) -> None:
        """Stop the processes that load images."""
        self._stream.close()

    def _open(self, spec: TrialSpec, builder: TrialBuilder) -> CheckpointedStudent:
        experiment = builder.experiment
        return CheckpointedStudent(
            spec.key,
            builder,
            experiment.student,
            experiment.training,
            seed=spec.seed,
            steps_per_epoch=len(self._stream),
            teacher=self._teacher if experiment.distillation.is_active else None,
            folder=TrialFolder.of(spec),
            metric=spec.metric,
            num_pictures=0,
        )

    def _in_training(self) -> tuple[str, ...]:
        return tuple(
            key
            for key, member in self._members.items()
            if key not in self._dropped and member.epochs_done < self._budgets[key]
        )

    def _gather(self) -> Cohort:
        """Return the cohort, joined by the students that have the fewest epochs."""
        in_training = self._in_training()
        if self._cohort is None or not self._joined:
            self._epochs_done = min(self._members[key].epochs_done for key in in_training)
            self._cohort = self._host.cohort(self._training, self._stream, self._teacher, epochs_done=self._epochs_done)
        for key in in_training:
            if self._members[key].epochs_done == self._epochs_done and key not in self._joined:
                self._cohort.join(self._members[key].student)
                self._joined.add(key)
        return self._cohort


def _open_teacher(builders: Mapping[str, TrialBuilder], weights: str | None) -> tuple[Detector | None, TrialBuilder]:
    """Build the shared teacher, with the builder whose experiment compares the most heads; also return the builder."""
    distilling = [builder for builder in builders.values() if builder.experiment.distillation.is_active]
    if not distilling:
        return None, next(iter(builders.values()))
    host = max(distilling, key=_num_comparing_heads)
    return host.teacher(weights), host


def _num_comparing_heads(builder: TrialBuilder) -> int:
    return sum(term.weight > 0 and term.compares_heads for term in builder.experiment.distillation.terms.values())
