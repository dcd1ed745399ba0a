"""A student trained epoch by epoch in a cohort of its own, with its folder: what trials and teachers have in common."""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from typing import Any

from distune.config.detector import DetectorSettings
from distune.config.search import Cost, cost_metric
from distune.config.training import TrainingSettings
from distune.detectors.taps import Detector
from distune.errors import TrialError
from distune.records import EpochReport
from distune.training import checkpoint
from distune.training.builder import TrialBuilder
from distune.training.cohort import EpochResult
from distune.training.evaluation import detection_figures as pictures
from distune.training.evaluation.model_costs import measure_costs
from distune.training.prototype_file import Origin, save_prototypes
from distune.training.student import Student
from distune.training.tensor_hash import tensors_hash
from distune.training.trial_folder import TrialFolder


class CheckpointedStudent:
    """A student and its folder: metrics, the last and the best state, pictures. Others train it, in a cohort.

    Opening it on a folder with a checkpoint goes on after the checkpoint's epoch, exactly as if it had never stopped.
    When the last checkpoint is damaged, that of the epoch before is used, or training starts anew; epochs on record
    that are trained again stay on record as they are.

    Args:
        key: names it within its cohort.
        builder: data and device.
        detector: settings of what is trained.
        training: its budget and the rest.
        seed: of weights, augmentation and sampling.
        steps_per_epoch: batches in an epoch of the stream.
        teacher: what it learns from; None trains plainly.
        folder: where it keeps its files.
        metric: such as ``search/AP``; the best epoch is the one where it is highest.
        num_pictures: how many images with detections are drawn after each best epoch.
        costs: what is measured on the student, once, and reported with every epoch.

    Attributes:
        notes: what a person should know about how it was opened.
    """

    def __init__(
        self,
        key: str,
        builder: TrialBuilder,
        detector: DetectorSettings,
        training: TrainingSettings,
        *,
        seed: int,
        steps_per_epoch: int,
        teacher: Detector | None,
        folder: TrialFolder,
        metric: str,
        num_pictures: int,
        costs: Sequence[Cost] = (),
    ) -> None:
        self._bench = builder
        self._settings = detector
        self._folder = folder
        self._metric = metric
        self._num_pictures = num_pictures
        self._teacher = teacher
        self._student = builder.student(
            key, detector, training, seed=seed, steps_per_epoch=steps_per_epoch, teacher=teacher
        )
        self._best: dict[str, float] = {}
        self.notes = self._resume()
        self._costs = self._measured(costs)

    @property
    def student(self) -> Student:
        """The student itself, to be put into a cohort."""
        return self._student

    @property
    def epochs_done(self) -> int:
        """How many epochs are behind it."""
        return self._student.epochs_done

    def take(self, result: EpochResult) -> EpochReport:
        """Record an epoch that its cohort has trained. Its checkpoint and its metrics are on disk on return.

        Raises:
            TrialError: the checkpoint could not be written.
            Exception: whatever went wrong in training.
        """
        if result.error is not None:
            raise result.error
        metrics = {**result.metrics, **self._costs}
        report = EpochReport(epoch=self._student.epochs_done, metrics=metrics, finished_at=time.time())
        if report.is_finite(self._metric):
            if report.metrics[self._metric] > self._best.get(self._metric, float("-inf")):
                self._best = report.metrics
                self._save_best(report)
                pictures.draw_detections(
                    self._bench.splits.search, result.predictions, self._num_pictures, self._folder.path
                )
                self._draw_prototypes()
                self._save_prototypes()
            checkpoint.save_next(self._state(report), self._folder.last_checkpoint, self._folder.previous_checkpoint)
        self._folder.append(report)
        return report

    def _measured(self, costs: Sequence[Cost]) -> dict[str, float]:
        """The costs; those that are on record are not measured again, since another time gives another latency."""
        names = [cost_metric(cost) for cost in costs]
        for report in self._folder.reports():
            if all(name in report.metrics for name in names):
                return {name: report.metrics[name] for name in names}
        return measure_costs(
            self._student.detector.model,
            costs,
            image_size_px=self._bench.experiment.data.min_size_px,
            device=self._bench.device,
        )

    def _draw_prototypes(self) -> None:
        prototypes = None if self._student.objective is None else self._student.objective.prototypes
        if prototypes is not None and self._num_pictures > 0:
            pictures.draw_prototypes(self._bench.splits.train, prototypes, self._folder.path)

    def _save_prototypes(self) -> None:
        prototype_manager = None if self._student.objective is None else self._student.objective.prototype_manager
        if prototype_manager is None or prototype_manager.current is None:
            return
        experiment = self._bench.experiment
        origin = Origin(
            teacher=self._teacher_hash,
            student=tensors_hash(self._student.detector.model.state_dict()),
            data=self._bench.splits.fingerprint,
            settings={
                "min_size_px": experiment.data.min_size_px,
                "max_size_px": experiment.data.max_size_px,
                **experiment.distillation.model_dump(mode="json", include={"pooling", "prototypes"}),
            },
            made_for=int(prototype_manager.made_for_epoch) - 1,
        )
        save_prototypes(prototype_manager, tuple(self._bench.splits.classes), origin, self._folder)

    @functools.cached_property
    def _teacher_hash(self) -> str:
        assert self._teacher is not None
        return tensors_hash(self._teacher.model.state_dict())

    def _state(self, report: EpochReport) -> dict[str, Any]:
        return {**self._student.state_dict(), "report": report.to_dict(), "best": self._best}

    def _save_best(self, report: EpochReport) -> None:
        """The student alone: a distune checkpoint that any detector of its settings can load."""
        data = self._bench.experiment.data
        state = {
            "model": self._student.detector.model.state_dict(),
            "classes": list(self._bench.splits.classes),
            "detector": self._settings.model_dump(mode="json"),
            "min_size_px": data.min_size_px,
            "max_size_px": data.max_size_px,
            "epoch": report.epoch,
            "metrics": report.metrics,
        }
        checkpoint.save(state, self._folder.best_checkpoint)

    def _resume(self) -> tuple[str, ...]:
        last, previous = self._folder.last_checkpoint, self._folder.previous_checkpoint
        state, fault = checkpoint.load_newest(last, previous)
        if state is not None:
            try:
                self._student.load_state_dict(state)
            except (KeyError, RuntimeError, ValueError) as error:
                raise TrialError(f"{last}: does not fit this trial: {error}") from error
            self._best = dict(state["best"])
            # The checkpoint is written before the line in the metrics: a crash between the two is mended here.
            self._folder.append(EpochReport.from_dict(state["report"]))
        # An epoch that was not finite left no checkpoint, and gets another try.
        done = self._student.epochs_done
        self._folder.keep(lambda report: report.epoch <= done or report.is_finite(self._metric))
        return () if fault is None else (fault,)


class SoloRun:
    """Trains one student alone and keeps its folder: see ``CheckpointedStudent``. The order of images follows the
    seed too.

    Attributes:
        notes: what a person should know about how it was opened.
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
    ) -> None:
        self._stream = builder.stream(training, seed=seed, with_masks=detector.learns_masks)
        self._kept = CheckpointedStudent(
            "solo",
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
        self.notes = self._kept.notes
        self._cohort = builder.cohort(training, self._stream, teacher, first_epoch=self._kept.epochs_done)
        self._cohort.join(self._kept.student)

    @property
    def student(self) -> Student:
        """The student itself."""
        return self._kept.student

    @property
    def epochs_done(self) -> int:
        """How many epochs are behind it."""
        return self._kept.epochs_done

    def run_epoch(self) -> EpochReport:
        """Train and evaluate one epoch; see ``CheckpointedStudent.take``."""
        return self._kept.take(self._cohort.run_epoch()["solo"])

    def close(self) -> None:
        """Give back the processes that read images."""
        self._stream.close()
