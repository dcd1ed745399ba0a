"""The experiment: data, teacher, student, distillation, training, search, resources and tracking in one file."""

from __future__ import annotations

import re
from typing import Any

from pydantic import field_validator, model_validator

from distune.config.base import Settings
from distune.config.data import DataSettings
from distune.config.detector import DetectorSettings, PyramidDetectorSettings, SsdliteSettings, TwoStageSettings
from distune.config.distillation import DistillationSettings
from distune.config.search import ResourceSettings, SearchSettings, TrackingSettings
from distune.config.several_gpus import several_gpus_incompatibilities
from distune.config.terms import TermSettings
from distune.config.training import TrainingSettings
from distune.config.training_sizes import training_size_problems

MAX_NAME_LENGTH = 100
NAME_PATTERN = re.compile(rf"[A-Za-z0-9][A-Za-z0-9_.-]{{0,{MAX_NAME_LENGTH - 1}}}")


class Experiment(Settings):
    """An experiment. It can be read from YAML or made in Python, and is valid once it exists."""

    name: str
    """Name of the experiment, and of its study unless another name is given at launch."""
    description: str = ""
    """A sentence about the experiment."""
    expects: dict[str, str | int | float] = {}
    """Expected results, as a note for users. Only a dry run reads of it: ``train_images`` and ``search_images``, the
    numbers of images where the data is not there; and ``control_s_per_image`` with ``control_s_measured_on``, the
    published seconds per image of a training step without distillation, and the device."""
    data: DataSettings
    """The images."""
    teacher: DetectorSettings
    """The detector whose knowledge is distilled."""
    teacher_training: TrainingSettings | None = None
    """Training of the teacher, once; null when it has ``weights``."""
    student: DetectorSettings
    """The detector that is trained in each trial."""
    distillation: DistillationSettings = DistillationSettings()
    """The losses that transfer knowledge from the teacher to the student."""
    training: TrainingSettings = TrainingSettings()
    """Training of the students."""
    search: SearchSettings = SearchSettings()
    """The search for hyperparameters."""
    resources: ResourceSettings = ResourceSettings()
    """CPUs, GPUs and processes of trials."""
    tracking: TrackingSettings = TrackingSettings()
    """Tracking with MLflow."""

    @field_validator("name")
    @classmethod
    def _name_is_a_file_name(cls, name: str) -> str:
        if not NAME_PATTERN.fullmatch(name):
            raise ValueError("must start with a letter or digit and contain only letters, digits, '_', '.' and '-'")
        return name

    @model_validator(mode="after")
    def _parts_fit(self) -> Experiment:
        problems = _incompatibilities(self)
        if problems:
            raise ValueError("\n".join(problems))
        return self

    @property
    def learns_masks(self) -> bool:
        """True when the student, or a teacher that is trained, learns masks."""
        trains_teacher = self.teacher_training is not None
        return self.student.learns_masks or (trains_teacher and self.teacher.learns_masks)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data with every default filled in; loading it gives an equal experiment."""
        return self.model_dump(mode="json")


def without_distillation(values: dict[str, Any]) -> dict[str, Any]:
    """Return an experiment, as plain data, with all weights of distillation set to 0."""
    distillation = dict(values["distillation"])
    for term in DistillationSettings().terms:
        distillation[term] = {**distillation.get(term, {}), "weight": 0.0}
    return {**values, "distillation": distillation}


def _incompatibilities(experiment: Experiment) -> list[str]:
    """Return the problems between parts, each as ``path = value<tab>message``."""
    problems: list[str] = []
    data, distillation = experiment.data, experiment.distillation
    if data.min_size_px > data.max_size_px:
        problems.append(
            f"data.min_size_px = {data.min_size_px}\tmust not be more than data.max_size_px = {data.max_size_px}"
        )
    problems += training_size_problems(data, experiment.student)
    if experiment.teacher.weights is None and experiment.teacher_training is None:
        problems.append("teacher_training\tis missing: the teacher has no weights, so it must be trained")
    for role, detector in (("teacher", experiment.teacher), ("student", experiment.student)):
        problems += _frozen_incompatibilities(role, detector)
        if detector.class_aliases and (role == "student" or experiment.teacher_training is not None):
            problems.append(
                f"{role}.class_aliases\tonly has an effect for a teacher that is not trained here; remove it"
            )
    problems += _training_incompatibilities(experiment)
    resources = experiment.resources
    problems += several_gpus_incompatibilities(
        resources.gpus_per_trial, batch_size=experiment.training.batch_size, cohort=resources.cohort
    )
    for name, term in distillation.terms.items():
        if term.weight > 0:
            problems += _term_incompatibilities(name, term, experiment.student, experiment.teacher)
    if distillation.start_epoch >= experiment.training.epochs and distillation.is_active:
        problems.append(
            f"distillation.start_epoch = {distillation.start_epoch}\tmust be less than training.epochs = "
            f"{experiment.training.epochs}, or distillation never starts"
        )
    scheduler = experiment.search.scheduler
    if scheduler.kind != "none" and scheduler.grace_epochs > experiment.training.epochs:
        problems.append(
            f"search.scheduler.grace_epochs = {scheduler.grace_epochs}\tmust not be more than training.epochs = "
            f"{experiment.training.epochs}"
        )
    return problems


def _training_incompatibilities(experiment: Experiment) -> list[str]:
    """Check data and batch sizes for the detectors that are trained."""
    trained = {"student": (experiment.student, "training", experiment.training)}
    if experiment.teacher_training is not None:
        trained["teacher"] = (experiment.teacher, "teacher_training", experiment.teacher_training)
    problems: list[str] = []
    for role, (detector, part, training) in trained.items():
        if detector.learns_masks and experiment.data.kind == "voc":
            problems.append(
                f"{role}.family = {detector.family}\tneeds masks for training, and data of kind voc has "
                "boxes only; use fasterrcnn, or data of kind coco"
            )
        if isinstance(detector, SsdliteSettings) and training.batch_size == 1:
            problems.append(
                f"{part}.batch_size = 1\tmust be at least 2: the coarsest feature maps of {role}.family = ssdlite have "
                "one cell, and batch normalization needs two values"
            )
    return problems


def _term_incompatibilities(
    name: str, term: TermSettings, student: DetectorSettings, teacher: DetectorSettings
) -> list[str]:
    problems: list[str] = []
    if term.compares_heads and student.prediction_sites != teacher.prediction_sites:
        problems.append(
            f"distillation.{name}.weight = {term.weight:g}\tmust be 0: the outputs of the student's head for "
            f"{student.prediction_sites} cannot be compared with the teacher's for {teacher.prediction_sites}"
        )
    if getattr(term, "sites", None) == "all" and isinstance(student, TwoStageSettings):
        problems.append(
            f"distillation.{name}.sites = all\tneeds a one-stage student, but student.family is {student.family}: its "
            "head is trained at few proposals; use positive"
        )
    channels = [getattr(detector, "fpn_channels", None) for detector in (student, teacher)]
    has_pyramids = (
        None not in channels
    )  # otherwise channels differ by level and are compared when the adapters are built
    if getattr(term, "adapter", None) == "identity" and has_pyramids and channels[0] != channels[1]:
        problems.append(
            f"distillation.{name}.adapter = identity\tneeds equal fpn_channels, but the student has "
            f"{channels[0]} and the teacher {channels[1]}; use conv1x1"
        )
    return problems


def _frozen_incompatibilities(role: str, detector: DetectorSettings) -> list[str]:
    is_frozen = isinstance(detector, PyramidDetectorSettings) and detector.norm == "frozen"
    if is_frozen and detector.weights is None and detector.backbone_weights is None:
        return [
            f"{role}.norm = frozen\tneeds {role}.weights or {role}.backbone_weights; use batch or group from scratch"
        ]
    return []
