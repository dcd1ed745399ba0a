"""One trial: a student distilled under the values that the study chose, or a control."""

from __future__ import annotations

from pathlib import Path

from distune.config.load import parse_experiment
from distune.data.build import build_splits
from distune.records import EpochReport, TrialSpec
from distune.training.builder import TrialBuilder
from distune.training.precision import pick_device
from distune.training.student_run import SoloRun
from distune.training.trial_folder import TrialFolder

_FEATURES = "features"
"""Beside the teacher's weights: what trials share of the teacher's features."""


class TrainingWork:
    """The real ``TrialWork``: builds everything from the specification alone, so that any machine can do it."""

    def __init__(self, spec: TrialSpec) -> None:
        experiment = parse_experiment(spec.experiment, source=f"trial {spec.key}")
        builder = TrialBuilder(
            experiment=experiment,
            splits=build_splits(experiment.data, with_masks=experiment.learns_masks),
            device=pick_device(experiment.resources.gpus_per_trial),
            feature_folder=feature_folder(spec.teacher_weights),
        )
        self._run = SoloRun(
            builder,
            experiment.student,
            experiment.training,
            seed=spec.seed,
            teacher=builder.teacher(spec.teacher_weights) if experiment.distillation.is_active else None,
            folder=TrialFolder.of(spec),
            metric=spec.metric,
            num_pictures=experiment.tracking.pictures,
            costs=experiment.search.costs,
        )
        self.epochs_done = self._run.epochs_done
        self.notes = self._run.notes

    def run_epoch(self) -> EpochReport:
        """See ``TrialWork.run_epoch``."""
        report = self._run.run_epoch()
        self.epochs_done = report.epoch
        return report

    def close(self) -> None:
        """See ``TrialWork.close``."""
        self._run.close()


def feature_folder(teacher_weights: str | None) -> Path | None:
    """Where trials share what the teacher sees; None without a file of the teacher's."""
    return None if teacher_weights is None else Path(teacher_weights).parent / _FEATURES
