"""Exports a detector of a study: writes the files, proves that they give the same detections, and adds a model card."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from distune.api.evaluation import SplitChoice, record_evaluation
from distune.api.export_card import ExportCard
from distune.api.preparation import open_data
from distune.api.study_models import StudyModel, find_model
from distune.config.home import Home
from distune.errors import DataError, StudyError, UsageError
from distune.study.callback import StudyCallback
from distune.study.files.study_folder import StudyFolder
from distune.study.status import StudyStatus

if TYPE_CHECKING:
    from distune.data.dataset import DetectionDataset
    from distune.detectors.taps import Detector
    from distune.export.exportable import Exportable
    from distune.export.formats import Format
    from distune.export.parity import Parity

FormatName = Literal["torchvision", "onnx"]
DEFAULT_IMAGES = 500
_MESSAGE_EVERY = 50


@dataclasses.dataclass(frozen=True, kw_only=True)
class Export:
    """An exported detector.

    Attributes:
        name: key of the trial, such as ``7``, or ``teacher``.
        is_confirmed: it is the student that a confirmation has chosen.
        format: of the files.
        folder: with the files.
        files: names of the files in it.
        split: that the comparison was made on.
        parity: the comparison of the exported file with the trained detector.
        file_bytes: size of the trained detector's weights, and of the exported file.
        notes: what to know about the files: name to text.
        previous_test_evaluations: other evaluations of the study on the test split; None for the search split.
    """

    name: str
    is_confirmed: bool
    format: FormatName
    folder: Path
    files: tuple[str, ...]
    split: SplitChoice
    parity: Parity
    file_bytes: tuple[int, int]
    notes: Mapping[str, str]
    previous_test_evaluations: int | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "trial": self.name,
            "format": self.format,
            "folder": str(self.folder),
            "files": list(self.files),
            "split": self.split,
            "parity": self.parity.to_dict(),
            "file_bytes": {"trained": self.file_bytes[0], "exported": self.file_bytes[1]},
            "notes": dict(self.notes),
            "previous_test_evaluations": self.previous_test_evaluations,
        }


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """The choices of a user.

    Attributes:
        format: ``torchvision`` or ``onnx``.
        trial: see ``find_model``.
        folder: for the files; None is ``exports/<trial>-<format>`` in the study's folder.
        replace: replace the folder if it exists.
        split: to compare on.
        max_images: images to compare on, at most.
        license: for the model card.
    """

    format: FormatName
    trial: int | str | None
    folder: Path | None
    replace: bool
    split: SplitChoice
    max_images: int
    license: str | None


def export_student(
    folder: StudyFolder, home: Home, status: StudyStatus, options: ExportOptions, *, callback: StudyCallback
) -> Export:
    """Export a detector of a study. A comparison on the test split is recorded as an evaluation before it is made.

    Args:
        folder: of the study.
        home: holds the teacher.
        status: of the study.
        options: of the user.
        callback: receives messages about the data and the progress.

    Returns:
        The export.

    Raises:
        UsageError: the format is unknown, a package is missing, or the folder exists.
        StudyError: there is no such trial, or it has no student.
        DataError: the experiment names no test split, or its data is damaged.
        ExportError: the detector cannot be exported in this format, or its file gives other detections.
    """
    from distune.export.formats import find_format

    _check_options(options)
    chosen = find_format(options.format)
    model = find_model(folder, home, status, options.trial)
    target = options.folder or _default_folder(folder, model, options.format)
    _check_target(target, options)
    splits = open_data(model.experiment, on_message=callback.on_message, decode=False)
    dataset = splits.search if options.split == "search" else splits.test
    if dataset is None:
        raise DataError(f"study {status.study}: the experiment names no test split")
    detector = model.load(tuple(dataset.classes))
    student = _exportable(folder, model, detector)
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        callback.on_message(f"export: writing format {options.format} of {model.title}")
        notes = chosen.write(student, draft)
        num_previous = record_evaluation(folder, model) if options.split == "test" else None
        parity = _prove(student, detector, chosen, draft, dataset, options.max_images, callback)
        sizes = (_weights_bytes(student), (draft / chosen.weights_file).stat().st_size)
        card = ExportCard(folder, status, model, student).render(
            options.format,
            notes,
            license=options.license,
            split=options.split,
            parity=parity,
            file_bytes=sizes,
        )
        (draft / "model_card.md").write_text(card, encoding="utf-8")
        _publish(draft, target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return Export(
        name=model.name,
        is_confirmed=model.is_confirmed,
        format=options.format,
        folder=target,
        files=tuple(sorted(each.name for each in target.iterdir())),
        split=options.split,
        parity=parity,
        file_bytes=sizes,
        notes=notes,
        previous_test_evaluations=num_previous,
    )


def _check_options(options: ExportOptions) -> None:
    if options.split not in get_args(SplitChoice):
        raise UsageError(f"split {options.split}: must be one of {', '.join(get_args(SplitChoice))}")
    if options.max_images < 1:
        raise UsageError(f"images = {options.max_images}: must be at least 1")


def _default_folder(folder: StudyFolder, model: StudyModel, format_name: str) -> Path:
    confirmed = "-confirmed" if model.is_confirmed else ""
    return folder.path / "exports" / f"{model.name}{confirmed}-{format_name}"


def _check_target(target: Path, options: ExportOptions) -> None:
    if not target.exists():
        return
    if not target.is_dir():
        raise UsageError(f"{target} is a file; give a folder")
    if not options.replace and any(target.iterdir()):
        raise UsageError(f"{target} exists; give another folder, or replace it: --replace, in Python replace=True")
    others = [each.name for each in target.iterdir() if each.is_dir() or each.name not in _known_files()]
    if others:
        raise UsageError(f"{target} is not replaced: it holds more than an export, such as {others[0]}")


def _known_files() -> set[str]:
    from distune.export.formats import FORMATS

    files = {"model_card.md"}
    return files.union(*({each.weights_file, each.program_file} for each in FORMATS.values()))


def _exportable(folder: StudyFolder, model: StudyModel, detector: Detector) -> Exportable:
    from distune.detectors.classes import class_table
    from distune.export.exportable import Exportable
    from distune.training.load_student import read_detector_settings

    table = class_table(detector)
    return Exportable(
        model=detector.model.eval(),
        settings=read_detector_settings(model.weights),
        classes=model.classes() if table is None else table.teacher,
        title=f"study {folder.name}, {model.title}",
    )


def _prove(
    student: Exportable,
    detector: Detector,
    chosen: Format,
    draft: Path,
    dataset: DetectionDataset,
    max_images: int,
    callback: StudyCallback,
) -> Parity:
    """Run the exported file and the detector on a split. Raises ``ExportError`` when they differ."""
    from distune.detectors.classes import class_table
    from distune.export.parity import check, compare
    from distune.training.evaluation.known_classes import KnownClasses

    def on_image(done: int, total: int) -> None:
        if done % _MESSAGE_EVERY == 0 or done == total:
            callback.on_message(f"export: compared on {done} of {total} images")

    table = class_table(detector)
    if table is not None and not table.known:
        raise StudyError("the teacher knows no class of the data, so its export cannot be compared on them")
    scored: DetectionDataset = dataset if table is None else KnownClasses(dataset, table.known)
    labels_K = None if table is None else table.labels_among(scored.classes)
    parity = compare(
        student.model, chosen.load(draft), scored, max_images=max_images, labels_K=labels_K, on_image=on_image
    )
    check(parity, file=chosen.weights_file)
    if parity.num_detections == 0:
        callback.on_message("warning: export: the detector found nothing on these images, so they show no difference")
    return parity


def _weights_bytes(student: Exportable) -> int:
    return sum(value.numel() * value.element_size() for value in student.model.state_dict().values())


def _publish(draft: Path, target: Path) -> None:
    """Give the finished folder its name; an earlier one is removed after that."""
    draft.chmod(0o755)
    old = None
    if target.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent)) / "old"
        target.rename(old)
    draft.rename(target)
    if old is not None:
        shutil.rmtree(old.parent, ignore_errors=True)
