"""Prototypes of the best trial as pictures, and the instances that its filter keeps and drops."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from distune.api.image_uris import crop_uri
from distune.api.own_teacher import find_teacher
from distune.api.study_models import StudyModel
from distune.config.home import Home
from distune.data.dataset import DetectionDataset, ImageError, Subset
from distune.errors import DistuneError
from distune.reports.page.page_blocks import Crop, CropRow
from distune.study.files.study_folder import StudyFolder
from distune.study.status import StudyStatus
from distune.training.trial_folder import TrialFolder

if TYPE_CHECKING:
    from distune.data.splits import Splits

_MAX_CLASSES, _MAX_PER_CLASS = 12, 10
_NUM_IMAGES, _NUM_SHOWN = 48, 12


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrototypePictures:
    """Rows of pictures, and why some are missing."""

    prototypes: Sequence[CropRow]
    filtered: Sequence[CropRow]
    problems: Sequence[str]


def prototype_pictures(
    folder: StudyFolder, home: Home, status: StudyStatus, best: StudyModel, splits: Splits
) -> PrototypePictures | None:
    """Make the pictures of the prototypes of a student, and of instances with their weights in its filter.

    Args:
        folder: of the study.
        home: holds the teacher.
        status: of the study.
        best: the student.
        splits: the data.

    Returns:
        The pictures; None if the student has no prototypes.
    """
    assert best.record is not None
    trial = TrialFolder(best.weights.parent)
    files = trial.prototype_files() or folder.trial(best.record.number).prototype_files()
    problems: list[str] = []
    if not files:
        settings = best.experiment.distillation
        if settings.filter.weight == "uniform" and settings.global_knowledge.weight == 0:
            return None
        problems.append(
            "The best trial asks for prototypes and made none, so its filter and its global loss had no effect. Only "
            "boxes whose shorter side is more than distillation.prototypes.min_box_side_px = "
            f"{settings.prototypes.min_box_side_px:g} pixels become prototypes."
        )
        return PrototypePictures(prototypes=(), filtered=(), problems=problems)
    prototypes: list[CropRow] = []
    filtered: list[CropRow] = []
    try:
        prototypes = _prototypes(files[-1], splits.train)
        if len(splits.classes) > _MAX_CLASSES:
            problems.append(f"Shown are prototypes of the first {_MAX_CLASSES} of {len(splits.classes)} classes.")
    except DistuneError as error:
        problems.append(f"Prototypes cannot be shown: {error}.")
    if best.experiment.distillation.filter.weight != "uniform":
        try:
            filtered = _filtered(folder, home, status, best, splits, problems)
        except (DistuneError, KeyError, RuntimeError) as error:
            problems.append(f"Weights of the filter cannot be shown: {error}.")
    return PrototypePictures(prototypes=prototypes, filtered=filtered, problems=problems)


def _prototypes(file: Path, dataset: DetectionDataset) -> list[CropRow]:
    from distune.training.prototype_file import load_prototypes

    stored = load_prototypes(file)
    origins_CM2 = stored.prototypes.origin[0].cpu().numpy()
    valid_CM = stored.prototypes.valid[0].cpu().numpy() & (origins_CM2[..., 0] >= 0)
    rows = []
    for name, origins_M2, valid_M in zip(
        stored.classes[:_MAX_CLASSES], origins_CM2[:_MAX_CLASSES], valid_CM[:_MAX_CLASSES], strict=True
    ):
        chosen = origins_M2[valid_M][:_MAX_PER_CLASS].tolist()
        crops = _crops(dataset, [(image, box, "") for image, box in chosen], f"prototype of class {name}")
        if crops:
            rows.append(CropRow(title=f"{name}: {int(valid_M.sum())} prototypes", crops=crops))
    return rows


def _filtered(
    folder: StudyFolder,
    home: Home,
    status: StudyStatus,
    best: StudyModel,
    splits: Splits,
    problems: list[str],
) -> list[CropRow]:
    from distune.training.builder import TrialBuilder
    from distune.training.checkpoint import load_newest
    from distune.training.evaluation.filter_weights import filter_weights
    from distune.training.precision import pick_device

    assert best.record is not None
    # A confirmed student keeps no training checkpoint; the trial of the search does.
    own, searched = TrialFolder(best.weights.parent), folder.trial(best.record.number)
    trial = next((each for each in (own, searched) if each.last_checkpoint.is_file()), searched)
    state, _ = load_newest(trial.last_checkpoint, trial.previous_checkpoint)
    if state is None or state.get("objective") is None:
        problems.append("Weights of the filter cannot be shown: the training checkpoint of the trial is missing.")
        return []
    chosen = np.linspace(0, len(splits.train) - 1, min(_NUM_IMAGES, len(splits.train))).round().astype(int)
    images = Subset(splits.train, chosen.tolist())
    builder = TrialBuilder(
        best.experiment,
        dataclasses.replace(splits, train=images),
        pick_device(best.experiment.resources.gpus_per_trial),
    )
    teacher = builder.teacher(str(find_teacher(folder, home, status, trial.path).weights))
    origin_N2, weights_N = filter_weights(builder, state, teacher, seed=best.record.seed)
    if not len(weights_N):
        problems.append("Weights of the filter cannot be shown: no instance of the sample has prototypes of its class.")
        return []
    order_N = np.argsort(weights_N, kind="stable")
    ends = {"lowest weights": order_N[:_NUM_SHOWN], "highest weights": order_N[::-1][:_NUM_SHOWN]}
    rows = []
    for title, positions in ends.items():
        instances = [(*origin_N2[each].tolist(), f"{weights_N[each]:.2f}") for each in positions]
        crops = _crops(images, instances, "training instance", with_class=True)
        rows.append(CropRow(title=f"Filter: {title} of {len(weights_N)} instances", crops=crops))
    return rows


def _crops(
    dataset: DetectionDataset, instances: Iterable[tuple[int, int, str]], words: str, *, with_class: bool = False
) -> list[Crop]:
    crops = []
    for image, box, text in instances:
        try:
            uri = crop_uri(dataset, image, box)
        except (ImageError, IndexError):
            continue
        annotations = dataset.annotations(image)
        name = dataset.classes[int(annotations.labels_N[box]) - 1] if with_class else ""
        description = " ".join(part for part in (words, name, text, "in", annotations.file) if part)
        crops.append(Crop(data_uri=uri, text=f"{name} {text}".strip(), description=description))
    return crops
