"""The training loop: one teacher, a stream of batches, and the students that share both. Read this file first."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator

import torch

from distune.data.dataset import DetectionDataset
from distune.data.stream import Batch, TrainingStream
from distune.detectors.taps import Detector, TeacherTaps
from distune.distillation.prototypes.collect_features import FeaturePass
from distune.training.evaluation.predict_and_score import Prediction, predict, score
from distune.training.feature_pass.teacher_features import FeaturePasses
from distune.training.precision import autocast
from distune.training.student import Student, is_finite


@dataclasses.dataclass(frozen=True)
class EpochResult:
    """How an epoch went for one student.

    Attributes:
        metrics: losses and the rest of training, and ``search/...`` from evaluation when training was finite.
        predictions: on the search split, empty when training was not finite.
        error: why the student cannot go on; None when it can.
    """

    metrics: dict[str, float]
    predictions: list[Prediction]
    error: Exception | None = None


class Cohort:
    """Students trained side by side: each batch is read once and goes through the teacher once.

    Students join and leave between epochs. An error in one ends that student alone.

    Args:
        teacher: in evaluation mode, never trained; None when no student distils.
        stream: of training batches.
        search: what students are evaluated on after each epoch.
        device: where everybody lives.
        dtype: lower precision of the teacher's and the evaluation's forward passes; None is float32.
        feature passes: of the same teacher over the same stream; None when no student distils.
        first_epoch: of the stream, counted from 0: a resumed cohort goes on where it was.
    """

    def __init__(
        self,
        *,
        teacher: Detector | None,
        stream: TrainingStream,
        search: DetectionDataset,
        device: torch.device,
        dtype: torch.dtype | None,
        feature_passes: FeaturePasses | None = None,
        first_epoch: int = 0,
    ) -> None:
        self._teacher = teacher
        self._stream = stream
        self._search = search
        self._device = device
        self._dtype = dtype
        self._feature_passes = feature_passes
        self._epoch = first_epoch
        self._students: dict[str, Student] = {}
        if teacher is not None:
            teacher.model.to(device).eval().requires_grad_(requires_grad=False)

    def join(self, student: Student) -> None:
        """Add a student. Its key must be new."""
        assert student.key not in self._students
        self._students[student.key] = student

    def leave(self, key: str) -> None:
        """Let a student go, with its memory."""
        del self._students[key]

    def run_epoch(self, *, evaluate: bool = True) -> dict[str, EpochResult]:
        """Train every student for one epoch, and evaluate it unless told not to. Those that failed have left then."""
        started = time.monotonic()
        students = list(self._students.values())
        results: dict[str, EpochResult] = {}
        for student in students:
            with _alone(student, results):
                student.begin_epoch(self._feature_pass(student))
        for batch in self._stream.epoch(self._epoch):
            self._step(batch.to(self._device), [each for each in students if each.key not in results], results)
        self._epoch += 1
        for student in [each for each in students if each.key not in results]:
            with _alone(student, results):
                results[student.key] = self._close_epoch(student, started, evaluate=evaluate)
        for key, result in results.items():
            if result.error is not None:
                self.leave(key)
        return results

    def _step(self, batch: Batch, students: list[Student], results: dict[str, EpochResult]) -> None:
        taps = self._observe(batch) if any(student.needs_teacher for student in students) else None
        for student in students:
            with _alone(student, results):
                student.step(batch, taps if student.needs_teacher else None)

    def _observe(self, batch: Batch) -> TeacherTaps:
        assert self._teacher is not None, "a student distils, but the cohort has no teacher"
        with autocast(self._device, self._dtype):
            return self._teacher.forward_teacher(batch.images)

    def _close_epoch(self, student: Student, started: float, *, evaluate: bool) -> EpochResult:
        metrics = student.end_epoch()
        predictions: list[Prediction] = []
        trained = time.monotonic()
        if evaluate and is_finite(metrics):
            predictions = predict(
                student.detector.model,
                self._search,
                device=self._device,
                batch_size=self._stream.batch_size,
                autocast_dtype=self._dtype,
            )
            metrics.update({f"search/{name}": value for name, value in score(predictions, self._search).items()})
        metrics["time/evaluate_s"] = time.monotonic() - trained
        metrics["time/epoch_s"] = time.monotonic() - started
        return EpochResult(metrics, predictions)

    def _feature_pass(self, student: Student) -> FeaturePass:
        return self._feature_passes.source(student) if self._feature_passes is not None else lambda max_images: iter(())


@contextlib.contextmanager
def _alone(student: Student, results: dict[str, EpochResult]) -> Iterator[None]:
    """Whatever goes wrong for one student inside the block ends that student, and nobody else."""
    try:
        yield
    except Exception as error:
        results[student.key] = EpochResult({}, [], error)
