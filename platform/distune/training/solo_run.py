"""A trial or a teacher in training: one student in a cohort of its own, with its folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from distune.collectives import num_processes, rank
from distune.config.detector import DetectorSettings
from distune.config.experiment import Experiment
from distune.config.load import parse_experiment
from distune.config.search import Cost, TeacherCacheSettings
from distune.config.training import TrainingSettings
from distune.data.build import build_splits
from distune.detectors.taps import Detector
from distune.records import EpochReport, TrialSpec
from distune.training.builder import TrialBuilder
from distune.training.checkpointed_student import CheckpointedStudent
from distune.training.precision import pick_device
from distune.training.student import Student
from distune.training.teacher_cache import TeacherCache
from distune.training.trial_folder import TrialFolder

_KEY = "solo"


class SoloRun:
    """Trains one student alone. It is a ``TrialRun``; see ``CheckpointedStudent`` for folder and resume.

    Args:
        builder: data and device.
        detector: settings of the student.
        training: budget, optimizer, schedule and precision.
        seed: of weights, augmentation, sampling and the order of images.
        teacher: of the distillation; None trains without.
        folder: of the trial.
        metric: such as ``search/AP``; the best epoch has its highest value.
        num_pictures: number of images whose detections are drawn after each new best epoch.
        costs: measured once on the student, and reported with every epoch.
        cache: of the teacher's maps; None keeps none. ``close`` closes it.
        stream_epochs: number of the stream's epoch for each epoch of the student, from 0; consecutive ones where the
            list ends.

    Attributes:
        notes: messages for the user about the state of the checkpoints.
    """

    def __init__(
        self,
        builder: TrialBuilder,
        detector: DetectorSettings,
        training: TrainingSettings,
        *,
        seed: int,
        teacher: Detector | None,
        folder: TrialFolder,
        metric: str,
        num_pictures: int,
        costs: Sequence[Cost] = (),
        cache: TeacherCache | None = None,
        stream_epochs: Sequence[int] = (),
    ) -> None:
        self._stream = builder.stream(training, seed=seed, with_masks=detector.learns_masks, detector=detector)
        self._stream.part = (rank(), num_processes())
        self._member = CheckpointedStudent(
            _KEY,
            builder,
            detector,
            training,
            seed=seed,
            steps_per_epoch=len(self._stream),
            teacher=teacher,
            folder=folder,
            metric=metric,
            num_pictures=num_pictures,
            costs=costs,
        )
        self.notes = self._member.notes
        self._stream_epochs, self._cache = stream_epochs, cache
        self._cohort = builder.cohort(
            training, self._stream, teacher, epochs_done=self._member.next_stream_epoch, cache=cache
        )
        self._cohort.join(self._member.student)

    @property
    def student(self) -> Student:
        """The student."""
        return self._member.student

    @property
    def epochs_done(self) -> int:
        """Number of epochs trained so far."""
        return self._member.epochs_done

    def run_epoch(self) -> EpochReport:
        """Train and evaluate one epoch; see ``CheckpointedStudent.record``."""
        if self.epochs_done < len(self._stream_epochs):
            self._cohort.epochs_done = self._stream_epochs[self.epochs_done]
        return self._member.record(self._cohort.run_epoch()[_KEY])

    def close(self) -> None:
        """Stop the processes that load images, and remove files that are no longer needed."""
        self._stream.close()
        if self._cache is not None:
            self._cache.close()


def open_trial(spec: TrialSpec, *, stream_epochs: Sequence[int] = ()) -> SoloRun:
    """Open a trial for training, from its specification alone, so that any machine can do it.

    Args:
        spec: of the trial. If its folder holds a checkpoint, training resumes after that epoch.
        stream_epochs: see ``SoloRun``; to repeat a trial that joined others later.

    Returns:
        The trial in progress.

    Raises:
        DistuneError: data, weights or checkpoint are missing or do not fit.
    """
    experiment = parse_experiment(spec.experiment, source=f"trial {spec.key}")
    builder = TrialBuilder(
        experiment=experiment,
        splits=build_splits(experiment.data, with_masks=experiment.learns_masks),
        device=pick_device(experiment.resources.gpus_per_trial),
        feature_folder=feature_folder(spec.teacher_weights),
    )
    return SoloRun(
        builder,
        experiment.student,
        experiment.training,
        seed=spec.seed,
        teacher=builder.teacher(spec.teacher_weights) if experiment.distillation.is_active else None,
        folder=TrialFolder.of(spec),
        metric=spec.metric,
        num_pictures=experiment.tracking.pictures,
        costs=experiment.search.costs,
        cache=open_teacher_cache(experiment, spec.teacher_weights),
        stream_epochs=stream_epochs,
    )


def open_teacher_cache(experiment: Experiment, teacher_weights: str | None) -> TeacherCache | None:
    """Return a cache for the maps of a teacher; None where no batch repeats, or there is no teacher."""
    if experiment.data.augmentation.copies is None or not experiment.distillation.is_active:
        return None
    folder = None if teacher_weights is None else Path(teacher_weights).parent
    limits, number = experiment.resources.teacher_cache, num_processes()  # each process keeps its part of the maps
    limits = TeacherCacheSettings(memory_gb=limits.memory_gb / number, disk_gb=limits.disk_gb / number)
    return TeacherCache(limits, folder)


def feature_folder(teacher_weights: str | None) -> Path | None:
    """Return the folder beside the teacher's weights in which trials share its features; None without a file."""
    return None if teacher_weights is None else Path(teacher_weights).parent / "features"
