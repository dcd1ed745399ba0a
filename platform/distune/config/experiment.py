"""The experiment: one file that says data, teacher, student, distillation, training, search, resources, tracking."""

from __future__ import annotations

import re
from typing import Any

from pydantic import field_validator, model_validator

from distune.config.base import Settings
from distune.config.data import DataSettings
from distune.config.detector import CommonDetectorSettings, DetectorSettings
from distune.config.distillation import DistillationSettings
from distune.config.search import ResourceSettings, SearchSettings, TrackingSettings
from distune.config.training import TrainingSettings

NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


class Experiment(Settings):
    """A whole experiment, checked and with every default filled in."""

    name: str
    """Also the name of a study launched without another one."""
    description: str = ""
    expects: dict[str, str | int | float] = {}
    """What this experiment is expected to reach, for people to compare with. Nothing reads it."""
    data: DataSettings
    teacher: DetectorSettings
    teacher_training: TrainingSettings | None = None
    """How distune trains the teacher, once; None when the teacher comes with weights."""
    student: DetectorSettings
    distillation: DistillationSettings = DistillationSettings()
    training: TrainingSettings = TrainingSettings()
    """How students are trained."""
    search: SearchSettings = SearchSettings()
    resources: ResourceSettings = ResourceSettings()
    tracking: TrackingSettings = TrackingSettings()

    @field_validator("name")
    @classmethod
    def _name_is_a_file_name(cls, name: str) -> str:
        if not NAME_PATTERN.fullmatch(name):
            raise ValueError("must start with a letter or digit and hold only letters, digits, '_', '.' and '-'")
        return name

    @model_validator(mode="after")
    def _parts_fit(self) -> Experiment:
        problems = _misfits(self)
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def to_dict(self) -> dict[str, Any]:
        """Plain data with every default filled in. Loading it gives an equal experiment."""
        return self.model_dump(mode="json")


def without_distillation(values: dict[str, Any]) -> dict[str, Any]:
    """The control of an experiment given as plain data: all distillation weights are zero, the rest is the same."""
    distillation = dict(values["distillation"])
    for term in ("global_knowledge", "local_knowledge", "soft_labels"):
        distillation[term] = {**distillation[term], "weight": 0.0}
    return {**values, "distillation": distillation}


def _misfits(experiment: Experiment) -> list[str]:
    """Problems between parts, each as ``path = value<tab>message``."""
    problems: list[str] = []
    data, distillation = experiment.data, experiment.distillation
    if data.min_size_px > data.max_size_px:
        problems.append(
            f"data.min_size_px = {data.min_size_px}\tmust not be more than data.max_size_px = {data.max_size_px}"
        )
    if experiment.teacher.weights is None and experiment.teacher_training is None:
        problems.append("teacher_training\tis missing: the teacher has no weights, so say how to train it")
    for role, detector in (("teacher", experiment.teacher), ("student", experiment.student)):
        problems += _frozen_misfits(role, detector)
    if experiment.student.family != experiment.teacher.family and distillation.soft_labels.weight > 0:
        problems.append(
            f"distillation.soft_labels.weight = {distillation.soft_labels.weight:g}\tmust be 0 here: class scores of "
            f"{experiment.student.family} and {experiment.teacher.family} cannot be compared"
        )
    local = distillation.local_knowledge
    channels = (experiment.student.fpn_channels, experiment.teacher.fpn_channels)
    if local.weight > 0 and local.adapter == "identity" and channels[0] != channels[1]:
        problems.append(
            f"distillation.local_knowledge.adapter = identity\tneeds equal fpn_channels, but the student has "
            f"{channels[0]} and the teacher {channels[1]}; use conv1x1"
        )
    if distillation.start_epoch >= experiment.training.epochs and distillation.is_active:
        problems.append(
            f"distillation.start_epoch = {distillation.start_epoch}\tmust be before training.epochs = "
            f"{experiment.training.epochs}, or distillation never starts"
        )
    scheduler = experiment.search.scheduler
    if scheduler.kind == "asha" and scheduler.grace_epochs > experiment.training.epochs:
        problems.append(
            f"search.scheduler.grace_epochs = {scheduler.grace_epochs}\tmust not be more than training.epochs = "
            f"{experiment.training.epochs}"
        )
    return problems


def _frozen_misfits(role: str, detector: CommonDetectorSettings) -> list[str]:
    if detector.norm == "frozen" and detector.weights is None and detector.backbone_weights is None:
        return [
            f"{role}.norm = frozen\tneeds {role}.weights or {role}.backbone_weights; use batch or group from scratch"
        ]
    return []
