"""The training loop: students that share one teacher and one stream of batches. Read this file first."""

from __future__ import annotations

import contextlib
import dataclasses
import traceback
from collections.abc import Iterable, Iterator

import torch

from distune.collectives import num_processes, rank, row_counts
from distune.data.dataset import DetectionDataset
from distune.data.stream import Batch, TrainingStream
from distune.detectors.resizing import sizes_kept
from distune.detectors.taps import Detector, TeacherTaps
from distune.distillation.prototypes.collect_features import FeaturePass
from distune.training.evaluation.predict_and_score import (
    Prediction,
    batches_of_images,
    predict_batch,
    prediction_mode,
    score,
)
from distune.training.feature_pass.teacher_features import FeaturePasses
from distune.training.memory_format import to_fast_format
from distune.training.processes.parts import batches_of_all, gather_predictions
from distune.training.step_timing import StepTimer
from distune.training.student import Student, is_finite
from distune.training.teacher_cache import TeacherCache
from distune.training.teacher_pass import TeacherPass

STREAM_EPOCH = "stream/epoch"
"""Number of the epoch of the stream that a student was trained on, from 1."""
_EVALUATION = "evaluation"


@dataclasses.dataclass(frozen=True)
class EpochResult:
    """The result of an epoch for one student, before it is recorded as an ``EpochReport``.

    Attributes:
        metrics: of training, and if the loss was finite ``search/...`` of the evaluation.
        predictions: on the search split; empty if the loss was not finite.
        error: the error that ended the student's training; None if it can continue.
    """

    metrics: dict[str, float]
    predictions: list[Prediction]
    error: Exception | None = None


class Cohort:
    """Students trained side by side: each batch is loaded once and passes the teacher once.

    Students join and leave between epochs. An error in one student does not affect the others. A student that several
    processes train is alone, and its errors are raised.

    Args:
        stream: of training batches.
        search: the split on which students are evaluated after each epoch.
        device: of all models.
        dtype: precision of the teacher's forward pass and of the evaluation under autocast; None is float32.
        half_maps: round the teacher's float32 maps to half precision.
        epochs_done: number of epochs of the stream that are done, more than 0 in a resumed cohort.

    Attributes:
        epochs_done: number of the stream's epoch that comes next, from 0. May be set between epochs.
    """

    def __init__(
        self,
        *,
        stream: TrainingStream,
        search: DetectionDataset,
        device: torch.device,
        dtype: torch.dtype | None,
        half_maps: bool = False,
        epochs_done: int = 0,
    ) -> None:
        self._teacher: TeacherPass | None = None
        self._feature_passes: FeaturePasses | None = None
        self._half_maps = half_maps
        self._stream = stream
        self._search = search
        self._device = device
        self._dtype = dtype
        self.epochs_done = epochs_done
        self._students: dict[str, Student] = {}

    def set_teacher(
        self,
        teacher: Detector,
        feature_passes: FeaturePasses,
        *,
        cache: TeacherCache | None = None,
        cache_identity: str = "",
    ) -> None:
        """Give a cohort its teacher, before the first student that is distilled joins.

        Args:
            teacher: set to evaluation mode, never trained.
            feature_passes: with the same teacher over the same stream.
            cache: of the teacher's maps of batches that repeat; None keeps none.
            cache_identity: of everything that these maps depend on besides the key of a batch.
        """
        to_fast_format(teacher.model, self._device)
        teacher.model.eval().requires_grad_(requires_grad=False)
        self._feature_passes = feature_passes
        self._teacher = TeacherPass(
            teacher,
            device=self._device,
            dtype=self._dtype,
            half_maps=self._half_maps,
            cache=cache,
            identity=cache_identity,
        )

    def join(self, student: Student) -> None:
        """Add a student. Its key must be new."""
        assert student.key not in self._students
        self._students[student.key] = student

    def leave(self, key: str) -> None:
        """Remove a student and release its memory."""
        del self._students[key]

    def run_epoch(self, *, evaluate: bool = True) -> dict[str, EpochResult]:
        """Train and evaluate every student for one epoch.

        Args:
            evaluate: compute ``search/...`` metrics after training.

        Returns:
            Key to result. Students with an error have been removed.
        """
        timer = StepTimer(self._device)
        students = list(self._students.values())
        results: dict[str, EpochResult] = {}
        num_images = 0
        for student in students:
            with _catch_error([student], results):
                student.begin_epoch(self._feature_pass(student))
        for batch in timer.waiting(batches_of_all(self._stream.epoch(self.epochs_done)), "load"):
            num_images += len(batch)
            active = [each for each in students if each.key not in results]
            if not active:
                break
            with self._sizes_kept(active):
                self._step(batch.to(self._device), active, results, timer)
            for result in results.values():
                _clear_locals(result.error)  # the step has ended: its batch and its maps of the teacher
        trained_s = timer.elapsed()
        self.epochs_done += 1
        speed = {"speed/images_per_s": sum(row_counts(num_images)) / trained_s}
        if self._teacher is not None and self._teacher.has_cache:
            speed["speed/cached_batches"] = self._teacher.read_cached_share()
        ended: dict[str, EpochResult] = {}
        for student in [each for each in students if each.key not in results]:
            with _catch_error([student], results):
                ended[student.key] = EpochResult(student.end_epoch(), [])
        evaluated = [each for each in students if each.key in ended and is_finite(ended[each.key].metrics)]
        if evaluate and evaluated:
            self._evaluate(evaluated, ended, results, timer)
        for key, result in ended.items():
            if key not in results:
                result.metrics.update(self._timing(key, timer) | speed)
                results[key] = result
        for key, result in results.items():
            if result.error is not None:
                self.leave(key)
        return results

    def _step(self, batch: Batch, students: list[Student], results: dict[str, EpochResult], timer: StepTimer) -> None:
        taps: TeacherTaps | None = None
        if any(student.needs_teacher for student in students):
            assert self._teacher is not None, "a student is distilled, but the cohort has no teacher"
            with timer.part("teacher"):
                taps = self._teacher.forward(batch)
        for student in students:
            with _catch_error([student], results), timer.part(student.key):
                student.step(batch, taps if student.needs_teacher else None)
        if taps is not None and self._teacher is not None:
            with timer.part("teacher"):
                self._teacher.end_step()

    def _sizes_kept(self, students: list[Student]) -> contextlib.AbstractContextManager[None]:
        """Let all models take images in the sizes that the stream has drawn."""
        if not self._stream.draws_sizes:
            return contextlib.nullcontext()
        detectors = [each.detector for each in students] + ([] if self._teacher is None else [self._teacher.detector])
        return sizes_kept(detector.model for detector in detectors)

    def _evaluate(
        self, students: list[Student], ended: dict[str, EpochResult], failed: dict[str, EpochResult], timer: StepTimer
    ) -> None:
        """Add predictions and ``search/...`` metrics to ``ended``. Each batch of images is loaded once for all."""
        with _catch_error(students, failed), contextlib.ExitStack() as modes:
            for student in students:
                modes.enter_context(prediction_mode(student.evaluated_model))
            batches = batches_of_images(
                self._search,
                batch_size=self._stream.batch_size,
                num_workers=self._stream.num_workers,
                part=self._stream.part,
            )
            for images in timer.waiting(batches, _EVALUATION):
                for student in [each for each in students if each.key not in failed]:
                    with _catch_error([student], failed), timer.part(_evaluation_of(student.key)):
                        ended[student.key].predictions.extend(
                            predict_batch(
                                student.evaluated_model, images, device=self._device, autocast_dtype=self._dtype
                            )
                        )
        for student in [each for each in students if each.key not in failed]:
            with _catch_error([student], failed), timer.part(_evaluation_of(student.key)):
                result = ended[student.key]
                result.predictions[:] = gather_predictions(result.predictions)
                if rank() == 0:
                    scores = score(result.predictions, self._search)
                    result.metrics.update({f"search/{name}": value for name, value in scores.items()})

    def _timing(self, key: str, timer: StepTimer) -> dict[str, float]:
        return {
            STREAM_EPOCH: float(self.epochs_done),
            "time/load_s": timer.seconds("load"),
            "time/teacher_s": timer.seconds("teacher"),
            "time/student_s": timer.seconds(key),
            "time/evaluate_s": timer.seconds(_EVALUATION) + timer.seconds(_evaluation_of(key)),
            "time/epoch_s": timer.elapsed(),
            "memory/peak_mb": timer.peak_memory_mb(),
        }

    def _feature_pass(self, student: Student) -> FeaturePass:
        return self._feature_passes.of(student) if self._feature_passes is not None else lambda max_images: iter(())


@contextlib.contextmanager
def _catch_error(students: Iterable[Student], results: dict[str, EpochResult]) -> Iterator[None]:
    """Turn an error inside the block into the result of these students, so that the others continue.

    A student in several processes is alone. Its error is raised at once: the other processes already wait for this one.
    """
    try:
        yield
    except Exception as error:
        if num_processes() > 1:
            raise
        _clear_locals(error)
        results.update({each.key: EpochResult({}, [], error) for each in students if each.key not in results})


def _clear_locals(error: BaseException | None) -> None:
    """Free what the ended calls of a traceback hold, such as the graph of a step, while the others train on."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def _evaluation_of(key: str) -> str:
    return f"{_EVALUATION} of {key}"
