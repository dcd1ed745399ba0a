"""Puts a trial's parts together from its settings: data, stream, teacher, student, objective."""

from __future__ import annotations

import dataclasses

import torch

from distune.config.detector import DetectorSettings
from distune.config.experiment import Experiment
from distune.config.training import TrainingSettings
from distune.data.build import Splits
from distune.data.stream import TrainingStream
from distune.detectors.levels import common_strides
from distune.detectors.taps import Detector
from distune.detectors.zoo import build_detector, load_weights
from distune.distillation.objective import Objective
from distune.errors import UsageError
from distune.training.cohort import Cohort
from distune.training.precision import autocast_dtype
from distune.training.student import Student


@dataclasses.dataclass(frozen=True)
class Bench:
    """What one student needs around it, on one device."""

    experiment: Experiment
    splits: Splits
    device: torch.device

    def detector(self, settings: DetectorSettings, *, seed: int) -> Detector:
        """A detector to be trained, with its initial weights."""
        return self._build(settings, seed=seed, for_training=True)

    def teacher(self, weights: str | None) -> Detector:
        """The teacher as it is: with the weights of a file, or with its settings' own. Raises ``WeightsError``."""
        settings = self.experiment.teacher
        if weights is None:
            return self._build(settings, seed=0, for_training=False)
        teacher = self._build(settings.model_copy(update={"weights": None, "backbone_weights": None}), seed=0)
        load_weights(teacher, weights, classes=self.splits.classes, for_training=False)
        return teacher

    def stream(self, settings: TrainingSettings, *, seed: int) -> TrainingStream:
        """The stream of training batches."""
        return TrainingStream(
            self.splits.train,
            settings=self.experiment.data,
            batch_size=settings.batch_size,
            seed=seed,
            num_workers=self.experiment.resources.loader_workers,
            pin_memory=self.device.type == "cuda",
        )

    def student(
        self,
        key: str,
        settings: DetectorSettings,
        training: TrainingSettings,
        *,
        seed: int,
        steps_per_epoch: int,
        teacher: Detector | None,
    ) -> Student:
        """A student with its initial weights; it distils when there is a teacher."""
        detector = self.detector(settings, seed=seed)
        objective = None if teacher is None else self._objective(detector, teacher, training, seed)
        return Student(
            key,
            detector,
            objective=objective,
            settings=training,
            seed=seed,
            steps_per_epoch=steps_per_epoch,
            device=self.device,
        )

    def cohort(
        self, training: TrainingSettings, stream: TrainingStream, teacher: Detector | None, *, first_epoch: int
    ) -> Cohort:
        """A cohort without students."""
        return Cohort(
            teacher=teacher,
            stream=stream,
            search=self.splits.search,
            device=self.device,
            dtype=autocast_dtype(training.precision, self.device),
            first_epoch=first_epoch,
        )

    def _objective(self, student: Detector, teacher: Detector, training: TrainingSettings, seed: int) -> Objective:
        data = self.experiment.data
        probe = torch.zeros(3, data.min_size_px, data.min_size_px)
        strides = common_strides(student, teacher, probe)
        if not strides:
            raise UsageError("student and teacher have no level of equal stride in common")
        return Objective(
            self.experiment.distillation,
            num_classes=len(self.splits.classes),
            strides=strides,
            student_channels=student.channels,
            teacher_channels=teacher.channels,
            score_kind=student.score_kind,
            num_epochs=training.epochs,
            seed=seed,
        )

    def _build(self, settings: DetectorSettings, *, seed: int, for_training: bool = True) -> Detector:
        data = self.experiment.data
        return build_detector(
            settings,
            classes=self.splits.classes,
            min_size_px=data.min_size_px,
            max_size_px=data.max_size_px,
            seed=seed,
            for_training=for_training,
        )
