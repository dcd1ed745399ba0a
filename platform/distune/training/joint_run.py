"""Students trained side by side under one seed, each with a folder of its own: the arms of a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from distune.config.load import parse_experiment
from distune.data.build import build_splits
from distune.detectors.taps import Detector
from distune.records import EpochReport, TrialSpec
from distune.training.builder import TrialBuilder
from distune.training.cohort import Cohort
from distune.training.precision import pick_device
from distune.training.student_run import CheckpointedStudent
from distune.training.trial import feature_folder
from distune.training.trial_folder import TrialFolder


class JointRun:
    """One cohort of students that share the order of images and the teacher's forward pass.

    Opening it on folders with checkpoints goes on after each student's last epoch. Students that are ahead, since the
    last run was cut off while it wrote checkpoints, wait for the others.

    Args:
        specs: with equal seed, data, batch size, precision and teacher; they may differ in the rest.
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
        benches = {
            spec.key: TrialBuilder(experiments[spec.key], splits, device, feature_folder(spec.teacher_weights))
            for spec in specs
        }
        self._teacher, self._host = _open_teacher(benches, weights)
        training = any_experiment.training
        self._training, self._seed = training, specs[0].seed
        self._stream = self._host.stream(training, seed=self._seed, with_masks=with_masks)
        self._budgets = {spec.key: spec.num_epochs for spec in specs}
        self._kept: dict[str, CheckpointedStudent] = {}
        self._refused: dict[str, Exception] = {}
        for spec in specs:
            try:
                self._kept[spec.key] = self._keep(spec, benches[spec.key])
            except Exception as error:
                self._refused[spec.key] = error
        self._dropped: set[str] = set()
        self._joined: set[str] = set()
        self._epoch = -1
        self._cohort: Cohort | None = None

    @property
    def notes(self) -> Mapping[str, Sequence[str]]:
        """Key to what a person should know about how that student was opened."""
        return {key: kept.notes for key, kept in self._kept.items() if kept.notes}

    @property
    def behind(self) -> tuple[str, ...]:
        """Keys of the students that have epochs to do."""
        return (*self._refused, *self._going())

    def run_epoch(self) -> Mapping[str, EpochReport | Exception]:
        """Train and evaluate the students that are furthest behind for one epoch.

        Returns:
            Key to the epoch's report, which is on disk with its checkpoint; or what went wrong, and the student is
            dropped then. Students that could not even be opened come first, alone and without an epoch.
        """
        if self._refused:
            refused, self._refused = self._refused, {}
            return refused
        cohort = self._gather()
        answers: dict[str, EpochReport | Exception] = {}
        for key, result in cohort.run_epoch().items():
            try:
                answers[key] = self._kept[key].take(result)
            except Exception as error:
                answers[key] = error
                self._dropped.add(key)
            if result.error is not None:
                self._joined.discard(key)  # the cohort has let it go
        self._epoch += 1
        for key in self._joined - set(self._going()):
            self._joined.discard(key)
            cohort.leave(key)
        return answers

    def drop(self, key: str) -> None:
        """Train a student no further."""
        self._dropped.add(key)
        if key in self._joined and self._cohort is not None:
            self._joined.discard(key)
            self._cohort.leave(key)

    def close(self) -> None:
        """Give back the processes that read images."""
        self._stream.close()

    def _keep(self, spec: TrialSpec, builder: TrialBuilder) -> CheckpointedStudent:
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

    def _going(self) -> tuple[str, ...]:
        return tuple(
            key
            for key, kept in self._kept.items()
            if key not in self._dropped and kept.epochs_done < self._budgets[key]
        )

    def _gather(self) -> Cohort:
        """The cohort at the epoch of those that are furthest behind, with all in it that are as far."""
        behind = self._going()
        epoch = min(self._kept[key].epochs_done for key in behind)
        if self._cohort is None or not self._joined:
            self._cohort = self._host.cohort(self._training, self._stream, self._teacher, first_epoch=epoch)
            self._epoch = epoch
        for key in behind:
            if self._kept[key].epochs_done == self._epoch and key not in self._joined:
                self._cohort.join(self._kept[key].student)
                self._joined.add(key)
        return self._cohort


def _open_teacher(benches: Mapping[str, TrialBuilder], weights: str | None) -> tuple[Detector | None, TrialBuilder]:
    """The teacher that all share, and the builder that opened it: the one that asks most of it."""
    distilling = [builder for builder in benches.values() if builder.experiment.distillation.is_active]
    if not distilling:
        return None, next(iter(benches.values()))
    host = max(distilling, key=_num_comparing_heads)
    return host.teacher(weights), host


def _num_comparing_heads(builder: TrialBuilder) -> int:
    return sum(term.weight > 0 and term.compares_heads for term in builder.experiment.distillation.terms.values())
