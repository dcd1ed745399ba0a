"""The facts of a study that the model card of an export states."""

from __future__ import annotations

import dataclasses
import json
import platform
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from distune.api.evaluation import SplitChoice
from distune.api.study_models import StudyModel
from distune.bounded_read import read_bounded
from distune.config.distillation import DistillationSettings
from distune.study.files.study_folder import StudyFolder
from distune.study.status import StudyStatus
from distune.version import VERSION

if TYPE_CHECKING:
    from distune.export.exportable import Exportable
    from distune.export.model_card import Score
    from distune.export.parity import Parity

_AP = "AP"


@dataclasses.dataclass(frozen=True)
class ExportCard:
    """The model card of a detector of a study.

    Attributes:
        folder: of the study.
        status: of the study.
        model: the detector's place in the study.
        student: the detector.
    """

    folder: StudyFolder
    status: StudyStatus
    model: StudyModel
    student: Exportable

    def render(
        self,
        format_name: str,
        notes: Mapping[str, str],
        *,
        license: str | None,  # noqa: A002
        split: SplitChoice,
        parity: Parity,
        file_bytes: tuple[int, int],
    ) -> str:
        """Return the text of the card.

        Args:
            format_name: of the export.
            notes: what to know about the files: name to text.
            license: as the user states it; None where they have not.
            split: of the comparison.
            parity: the comparison of the exported file with the detector.
            file_bytes: of the detector's weights and of the exported file.

        Returns:
            Markdown with the YAML header of Hugging Face.
        """
        from distune.export.formats import FORMATS
        from distune.export.model_card import ModelCard

        chosen, student = FORMATS[format_name], self.student
        return ModelCard(
            title=student.title,
            role=_role(self.model),
            family=student.settings.family,
            backbone=student.settings.backbone,
            classes=student.classes,
            image_size=student.image_size,
            num_parameters=sum(each.numel() for each in student.model.parameters()),
            format=format_name,
            format_summary=chosen.summary,
            format_notes=notes,
            weights_file=chosen.weights_file,
            program_file=chosen.program_file,
            license=license,
            data=list(self._data()),
            scores=list(self._scores(split, parity)),
            gain=gain_line(self.status, self.model),
            num_test_evaluations=len(self.folder.confirmation.test_evaluations()),
            parity=parity,
            parity_split=split,
            file_bytes=file_bytes,
            settings={name: values for name, values in self._settings() if values},
            versions=_versions(format_name),
        ).to_markdown()

    def _data(self) -> Iterator[str]:
        yield f"kind: {self.model.experiment.data.kind}"
        try:
            card = json.loads(read_bounded(self.folder.data_card_file))
            lines = [
                f"{split['name']} split: {split['num_images']} images, {split['num_boxes']} boxes"
                for split in card["splits"]
            ]
            yield from lines + ([f"skipped: {len(card['faults'])} images or boxes"] if card["faults"] else [])
        except (OSError, ValueError, KeyError, TypeError):
            yield "the study's folder has no data card"

    def _scores(self, split: SplitChoice, parity: Parity) -> Iterator[Score]:
        from distune.export.model_card import Score

        if parity.ap is not None:
            yield Score(split=split, ap=parity.ap, source=f"this detector, {parity.num_images} images, one at a time")
        record, teacher, confirmed = self.model.record, self.folder.teacher(), self.status.confirmation
        if record is not None and not self.model.is_confirmed and f"search/{_AP}" in record.metrics:
            yield Score(split="search", ap=record.metrics[f"search/{_AP}"], source="in training, at its best epoch")
        if record is None and teacher is not None and f"search/{_AP}" in teacher.metrics:
            yield Score(split="search", ap=teacher.metrics[f"search/{_AP}"], source="in training, at its best epoch")
        if confirmed is not None and self.model.is_confirmed and confirmed.metric == _AP:
            seeds = f"{confirmed.gain.num_seeds} seeds"
            yield Score(split=confirmed.split, ap=confirmed.gain.student, source=f"mean of {seeds} of this student")
            yield Score(
                split=confirmed.split, ap=confirmed.gain.control, source=f"mean of {seeds} without distillation"
            )

    def _settings(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        experiment, record = self.model.experiment, self.model.record
        weights = {"weights", "backbone_weights"}
        yield "Detector", self.student.settings.model_dump(mode="json", exclude=weights)
        settings = experiment.teacher if record is None else experiment.student
        initial = settings.model_dump(mode="json", include=weights, exclude_none=True)
        yield "Initial weights", initial or {"weights": "random"}
        yield "Data", experiment.data.model_dump(mode="json")
        if record is None:
            if experiment.teacher_training is not None:
                yield "Training", experiment.teacher_training.model_dump(mode="json")
            return
        yield "Training", experiment.training.model_dump(mode="json") | {"seed": self.model.seed}
        if not record.control:
            yield "Distillation", active_distillation(experiment.distillation)
            yield "Found by the search", dict(record.params)


def gain_line(status: StudyStatus, model: StudyModel) -> str:
    """Return the gain with its interval and verdict where the student's trial is confirmed, in a line."""
    confirmed = status.confirmation
    if model.record is None:
        return "none, since this is the teacher"
    if model.record.control:
        return "none, since this is the control, which is not distilled"
    if confirmed is None or confirmed.winner != model.record.number:
        return "not confirmed: one seed"
    other = "" if model.is_confirmed else "; of the same settings, trained again"
    return f"{confirmed.summary}, {confirmed.split} split{other}"


def active_distillation(settings: DistillationSettings) -> dict[str, Any]:
    """Return the settings of distillation without the terms that have no weight, and what only those use."""
    inactive = {name for name, term in settings.terms.items() if term.weight == 0}
    if "global_knowledge" in inactive and settings.filter.weight == "uniform":
        inactive |= {"prototypes", "filter"}
    return settings.model_dump(mode="json", exclude=inactive)


def _role(model: StudyModel) -> str:
    if model.record is None:
        return "teacher"
    return "student without distillation (the control)" if model.record.control else "distilled student"


def _versions(format_name: str) -> dict[str, str]:
    packages = ["torch", "torchvision", *(["onnx", "onnxruntime"] if format_name == "onnx" else [])]
    return {"distune": VERSION, "python": platform.python_version(), **{name: version(name) for name in packages}}
