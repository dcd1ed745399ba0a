"""A student with its trial folder: records epochs, writes checkpoints, resumes. The base of solo and joint runs."""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from typing import Any

from distune.collectives import rank
from distune.config.detector import DetectorSettings
from distune.config.search import Cost, cost_metric
from distune.config.training import TrainingSettings
from distune.detectors.taps import Detector
from distune.detectors.zoo import with_known_epsilon
from distune.errors import TrialError
from distune.records import EpochReport
from distune.training import checkpoint
from distune.training.builder import TrialBuilder
from distune.training.cohort import STREAM_EPOCH, EpochResult
from distune.training.evaluation import detection_figures as figures
from distune.training.evaluation.model_costs import measure_costs
from distune.training.prototype_file import Origin, save_prototypes
from distune.training.student import Student
from distune.training.tensor_hash import tensors_hash
from distune.training.trial_folder import TrialFolder

_FEATURE_SETTINGS = {"pooling", "center", "min_box_cells", "prototypes"}
"""The settings of distillation that determine prototypes."""


class CheckpointedStudent:
    """A student and its folder: metrics, last and best checkpoint, figures. A cohort trains the student.

    If the folder holds a checkpoint, training resumes after its epoch and gives the same results as an uninterrupted
    run. If the last checkpoint is damaged, the one before it is used, or training restarts. Epochs that are trained
    again keep their first record.

    Args:
        key: identifies the student within its cohort.
        builder: data and device.
        detector: settings of the student.
        training: budget, optimizer, schedule and precision.
        seed: of weights, augmentation and sampling.
        steps_per_epoch: batches in an epoch of the stream.
        teacher: of the distillation; None trains without.
        folder: of the trial.
        metric: such as ``search/AP``; the best epoch has its highest value.
        num_pictures: number of images whose detections are drawn after each new best epoch.
        costs: measured once on the student, and reported with every epoch.

    Attributes:
        notes: messages for the user about the state of the checkpoints.
        next_stream_epoch: number of the stream's epoch after the last one that the student was trained on, from 0.
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
        self._builder = builder
        self._settings = with_known_epsilon(detector)
        self._folder = folder
        self._metric = metric
        self._num_pictures = num_pictures
        self._teacher = teacher
        self._student = builder.student(
            key, detector, training, seed=seed, steps_per_epoch=steps_per_epoch, teacher=teacher
        )
        self._best: dict[str, float] = {}
        self.next_stream_epoch = 0
        self.notes = self._resume()
        self._costs = self._known_or_measured(costs)

    @property
    def student(self) -> Student:
        """The student, which joins a cohort."""
        return self._student

    @property
    def epochs_done(self) -> int:
        """Number of epochs trained so far."""
        return self._student.epochs_done

    def record(self, result: EpochResult) -> EpochReport:
        """Write the checkpoint and the metrics of an epoch that the cohort has trained.

        Args:
            result: of the student.

        Returns:
            The report, which is on disk.

        Raises:
            TrialError: the checkpoint could not be written.
            Exception: the error of the result.
        """
        if result.error is not None:
            raise result.error
        metrics = {**result.metrics, **self._costs}
        self.next_stream_epoch = int(metrics[STREAM_EPOCH])
        report = EpochReport(epoch=self._student.epochs_done, metrics=metrics, finished_at=time.time())
        if rank() > 0:  # the first of the trial's processes writes the files
            return report
        if report.is_finite(self._metric):
            if report.metrics[self._metric] > self._best.get(self._metric, float("-inf")):
                self._best = report.metrics
                self._save_best(report)
                figures.draw_detections(
                    self._builder.splits.search, result.predictions, self._num_pictures, self._folder.path
                )
                self._draw_prototypes()
                self._save_prototypes()
            checkpoint.save_next(self._state(report), self._folder.last_checkpoint, self._folder.previous_checkpoint)
        self._folder.append(report)
        return report

    def _known_or_measured(self, costs: Sequence[Cost]) -> dict[str, float]:
        """Return the costs. Recorded ones are not measured again: the latency would differ."""
        names = [cost_metric(cost) for cost in costs]
        if rank() > 0:
            return {}
        for report in self._folder.reports():
            if all(name in report.metrics for name in names):
                return {name: report.metrics[name] for name in names}
        return measure_costs(
            self._student.detector.model,
            costs,
            image_size_px=self._builder.experiment.data.min_size_px,
            device=self._builder.device,
        )

    def _draw_prototypes(self) -> None:
        prototypes = None if self._student.objective is None else self._student.objective.prototypes
        if prototypes is not None and self._num_pictures > 0:
            figures.draw_prototypes(self._builder.splits.train, prototypes, self._folder.path)

    def _save_prototypes(self) -> None:
        prototype_manager = None if self._student.objective is None else self._student.objective.prototype_manager
        if prototype_manager is None or prototype_manager.current is None:
            return
        experiment = self._builder.experiment
        origin = Origin(
            teacher=self._teacher_hash,
            student=tensors_hash(self._student.detector.model.state_dict()),
            data=self._builder.splits.fingerprint,
            settings={
                "min_size_px": experiment.data.min_size_px,
                "max_size_px": experiment.data.max_size_px,
                **experiment.distillation.model_dump(mode="json", include=_FEATURE_SETTINGS),
            },
            made_for=int(prototype_manager.made_for_epoch) - 1,
        )
        save_prototypes(prototype_manager, tuple(self._builder.splits.classes), origin, self._folder)

    @functools.cached_property
    def _teacher_hash(self) -> str:
        assert self._teacher is not None
        return tensors_hash(self._teacher.model.state_dict())

    def _state(self, report: EpochReport) -> dict[str, Any]:
        return {**self._student.state_dict(), "report": report.to_dict(), "best": self._best}

    def _save_best(self, report: EpochReport) -> None:
        """Save the student alone: a distune checkpoint that any detector of its settings can load."""
        data = self._builder.experiment.data
        state = {
            "model": self._student.evaluated_model.state_dict(),
            "classes": list(self._builder.splits.classes),
            "detector": self._settings.model_dump(mode="json"),
            "min_size_px": data.min_size_px,
            "max_size_px": data.max_size_px,
            "epoch": report.epoch,
            "metrics": report.metrics,
        }
        checkpoint.save(state, self._folder.best_checkpoint)

    def _resume(self) -> tuple[str, ...]:
        last, previous = self._folder.last_checkpoint, self._folder.previous_checkpoint
        state, note = checkpoint.load_newest(last, previous)
        if state is not None:
            try:
                self._student.load_state_dict(state)
            except (KeyError, RuntimeError, ValueError) as error:
                raise TrialError(f"{last}: does not fit this trial: {error}") from error
            self._best = dict(state["best"])
            metrics = state["report"]["metrics"]
            self.next_stream_epoch = int(metrics.get(STREAM_EPOCH, self._student.epochs_done))
        if rank() > 0:
            return ()
        if state is not None:
            # The checkpoint is written before the line in the metrics. A crash between the two is repaired here.
            self._folder.append(EpochReport.from_dict(state["report"]))
        # An epoch that was not finite left no checkpoint, and is trained again.
        done = self._student.epochs_done
        self._folder.keep(lambda report: report.epoch <= done or report.is_finite(self._metric))
        return () if note is None else (note,)
