"""Builds the parts of a trial from its settings: stream, teacher, student, objective, cohort."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch

from distune.config.detector import DetectorSettings
from distune.config.experiment import Experiment
from distune.config.pretrained import is_torchvision_name
from distune.config.training import TrainingSettings
from distune.data.build import build_stream
from distune.data.dataset import DetectionDataset
from distune.data.splits import Splits
from distune.data.stream import TrainingStream
from distune.detectors.classes import class_table, refuse_unknown
from distune.detectors.levels import common_strides, probe_levels
from distune.detectors.taps import Detector
from distune.detectors.zoo import build_detector, build_trained_detector
from distune.distillation.build import build_objective
from distune.distillation.filter_auc import TagsOf
from distune.distillation.objective import Objective
from distune.errors import TeacherFileError, UsageError
from distune.training.checkpoint import is_intact
from distune.training.cohort import Cohort
from distune.training.feature_pass.feature_cache import FeatureCache
from distune.training.feature_pass.teacher_features import FeaturePasses
from distune.training.precision import autocast_dtype
from distune.training.processes.sync_norms import synchronize_norms
from distune.training.student import Student, build_student
from distune.training.teacher_cache import TeacherCache

_MAX_IMAGES_FOR_TAGS = 100


@dataclasses.dataclass(frozen=True)
class TrialBuilder:
    """Builds everything that training a student needs, on one device.

    Attributes:
        experiment: all settings.
        splits: the data.
        device: of the training.
        feature_folder: cache of the teacher's features that all trials share; None caches them in memory.
    """

    experiment: Experiment
    splits: Splits
    device: torch.device
    feature_folder: Path | None = None

    def detector(self, settings: DetectorSettings, *, seed: int) -> Detector:
        """Build a detector for training, with its initial weights."""
        data = self.experiment.data
        return build_detector(
            settings,
            classes=self.splits.classes,
            min_size_px=data.min_size_px,
            max_size_px=data.max_size_px,
            seed=seed,
        )

    def teacher(self, weights: str | None) -> Detector:
        """Build the teacher with the weights of a file; None takes those of its settings.

        Args:
            weights: file of a teacher that was prepared, or None.

        Returns:
            The teacher.

        Raises:
            TeacherFileError: the file of a teacher that was prepared is damaged or missing.
            WeightsError: weights are missing or do not fit.
        """
        settings = self.experiment.teacher
        if weights is not None and weights != settings.weights and not is_intact(Path(weights)):
            raise TeacherFileError(f"{weights}: the file of the teacher is damaged or missing")
        data = self.experiment.data
        return build_trained_detector(
            settings if weights in (None, settings.weights) else settings.with_weights(weights),
            classes=self.splits.classes,
            min_size_px=data.min_size_px,
            max_size_px=data.max_size_px,
            needed_by=self._terms_that_compare_heads(),
        )

    def check_teacher(self, teacher: Detector) -> None:
        """Check a teacher that was built for another trial. Raises ``WeightsError`` if it lacks needed classes."""
        table = class_table(teacher)
        if table is not None:
            refuse_unknown(table, needed_by=self._terms_that_compare_heads(), source="of the teacher")

    def teacher_or_random(self, weights: str | None) -> Detector:
        """Build the teacher of a trial that only has to run: nothing is downloaded.

        Args:
            weights: file of its weights; None for the file that its settings name, else random weights.

        Returns:
            The teacher. Its random weights have another seed than the student's: with equal settings both would be the
            same network, and all losses would be 0.

        Raises:
            WeightsError: the file is missing or does not fit.
        """
        settings = self.experiment.teacher
        if weights is None and settings.weights is not None and not is_torchvision_name(settings.weights):
            weights = settings.weights
        if weights is not None:
            return self.teacher(weights)
        return self.detector(settings.from_scratch(), seed=self.experiment.training.seed + 1)

    def squares_px(self, student: DetectorSettings | None = None) -> tuple[int | None, ...]:
        """Return the sizes for which the stream of a student resizes: of the student, and of a teacher that differs.

        Args:
            student: its settings; None for those of the experiment.

        Returns:
            See ``distune.data.transforms.training_transform``. A control has those of its trials.
        """
        student = self.experiment.student if student is None else student
        return tuple(dict.fromkeys((student.square_px, self.experiment.teacher.square_px)))

    def stream(
        self,
        settings: TrainingSettings,
        *,
        seed: int,
        with_masks: bool = False,
        detector: DetectorSettings | None = None,
    ) -> TrainingStream:
        """Build the stream of training batches.

        Args:
            settings: give the batch size.
            seed: of the order and the augmentation.
            with_masks: draw the masks of objects.
            detector: that is trained; None for the experiment's student.

        Returns:
            The stream.
        """
        return build_stream(
            self.splits.train,
            self.experiment.data,
            batch_size=settings.batch_size,
            seed=seed,
            num_workers=self.experiment.resources.loader_workers,
            pin_memory=self.device.type == "cuda",
            with_masks=with_masks,
            squares_px=self.squares_px(detector),
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
        """Build a student with its initial weights. It is distilled if there is a teacher."""
        detector = self.detector(settings, seed=seed)
        synchronize_norms(detector.model, self.device)
        objective = None if teacher is None else self.objective(detector, teacher, training, seed=seed)
        return build_student(
            key,
            detector,
            objective=objective,
            settings=training,
            seed=seed,
            steps_per_epoch=steps_per_epoch,
            device=self.device,
        )

    def cohort(
        self,
        training: TrainingSettings,
        stream: TrainingStream,
        teacher: Detector | None,
        *,
        epochs_done: int,
        cache: TeacherCache | None = None,
    ) -> Cohort:
        """Build a cohort without students whose stream continues after ``epochs_done`` epochs; see ``Cohort``."""
        dtype = autocast_dtype(training.precision, self.device)
        cohort = Cohort(
            stream=stream,
            search=self.splits.search,
            device=self.device,
            dtype=dtype,
            half_maps=training.half_teacher_maps,
            epochs_done=epochs_done,
        )
        if teacher is not None:
            cohort.set_teacher(teacher, self.feature_passes(teacher, stream, training), cache=cache)
        return cohort

    def objective(self, student: Detector, teacher: Detector, training: TrainingSettings, *, seed: int) -> Objective:
        """Build the distillation objective between a student and a teacher. Raises ``UsageError``."""
        data = self.experiment.data
        probe = torch.zeros(3, data.min_size_px, data.min_size_px)
        student_levels, teacher_levels = probe_levels(student, probe), probe_levels(teacher, probe)
        strides = common_strides(student_levels, teacher_levels)
        if not strides:
            raise UsageError("student and teacher have no level of equal stride in common")
        return build_objective(
            self.experiment.distillation,
            num_classes=len(self.splits.classes),
            strides=strides,
            student_channels=[student_levels[stride] for stride in strides],
            teacher_channels=[teacher_levels[stride] for stride in strides],
            score_kind=student.score_kind,
            base_size_px=student.base_size_px,
            num_epochs=training.epochs,
            seed=seed,
            tags_of=_tags(self.splits.train),
        )

    def _terms_that_compare_heads(self) -> list[str]:
        terms = self.experiment.distillation.terms
        return [name for name, term in terms.items() if term.weight > 0 and term.compares_heads]

    def feature_passes(self, teacher: Detector, stream: TrainingStream, training: TrainingSettings) -> FeaturePasses:
        """Build the feature passes of a cohort with this teacher and stream."""
        data = self.experiment.data
        return FeaturePasses(
            teacher,
            stream,
            device=self.device,
            dtype=autocast_dtype(training.precision, self.device),
            cache=FeatureCache(self.feature_folder),
            identity={
                "data": self.splits.fingerprint,
                "min_size_px": data.min_size_px,
                "max_size_px": data.max_size_px,
                "teacher": self.experiment.teacher.with_weights(None).model_dump(mode="json"),
            },
        )


def _tags(dataset: DetectionDataset) -> TagsOf | None:
    """Return the tags of the boxes of each image; None if the first images have no tags."""
    if not any(any(dataset.annotations(index).tags_N) for index in range(min(len(dataset), _MAX_IMAGES_FOR_TAGS))):
        return None
    return lambda index: dataset.annotations(index).tags_N
