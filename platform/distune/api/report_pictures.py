"""Pictures of a study for the report page: search images with the boxes of all models, prototypes, the filter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from distune.api.image_uris import PICTURE_PX, picture_uri
from distune.api.own_teacher import find_teacher
from distune.api.preparation import open_data
from distune.api.report_prototypes import prototype_pictures
from distune.api.study_detections import detect, ground_truth
from distune.api.study_models import TEACHER, StudyModel, find_model
from distune.config.home import Home
from distune.data.dataset import DetectionDataset, ImageError, Subset
from distune.errors import DistuneError, StudyError
from distune.evidence.detections import Detections, GroundTruth
from distune.reports.page.page_blocks import Picture, PictureGrid
from distune.reports.page.page_input import Pictures
from distune.reports.page.picture_values import (
    NUM_COLORS,
    ChosenImage,
    caption,
    choose_images,
    model_panel,
    start_threshold,
    truth_panel,
)
from distune.study.files.study_folder import StudyFolder
from distune.study.status import StudyStatus

if TYPE_CHECKING:
    from distune.data.splits import Splits

NUM_IMAGES, NUM_DIFFERENT = 12, 4
_MAX_DETECTED = 500
_FEWER_DETECTED = 60
"""Images on which the models run: all of a small split, else this many. A split of thousands takes too long here."""

_MODELS: dict[str, str | None] = {TEACHER: TEACHER, "control": "control", "best": None}


def study_pictures(
    folder: StudyFolder, home: Home, status: StudyStatus, *, on_message: Callable[[str], None]
) -> Pictures:
    """Make the pictures of a study. Detections are computed once for each file of weights, and kept.

    Args:
        folder: of the study, which was trained.
        home: holds the teacher.
        status: of the study.
        on_message: receives a line before the models run.

    Returns:
        The pictures; what is missing is a sentence.

    Raises:
        DataError: the data are missing or damaged.
    """
    problems: list[str] = []
    models = _models(folder, home, status, problems)
    splits = open_data(folder.load().experiment, on_message=lambda _: None, decode=False)
    images = None
    if models:
        dataset = _images_to_detect(splits.search)
        truth = ground_truth(dataset)
        found = _detections(folder, models, dataset, splits, on_message, problems)
        images = _grid(dataset, truth, {name: models[name] for name in found}, found)
    best = models.get("best")
    prototypes = None if best is None else prototype_pictures(folder, home, status, best, splits)
    if prototypes is None:
        return Pictures(images=images, problems=problems)
    return Pictures(
        images=images,
        problems=problems,
        prototypes=prototypes.prototypes,
        filtered=prototypes.filtered,
        prototype_problems=prototypes.problems,
    )


def _models(folder: StudyFolder, home: Home, status: StudyStatus, problems: list[str]) -> dict[str, StudyModel]:
    found = {}
    for name, trial in _MODELS.items():
        try:
            found[name] = _teacher(folder, home, status) if name == TEACHER else find_model(folder, home, status, trial)
        except StudyError as error:
            problems.append(f"Pictures of {name} are missing: {_first_line(error)}.")
    return found


def _teacher(folder: StudyFolder, home: Home, status: StudyStatus) -> StudyModel:
    """Return the teacher of the best student; that of the study while there is no student."""
    try:
        training = find_model(folder, home, status, None).weights.parent
    except StudyError:
        training = None
    return find_teacher(folder, home, status, training)


def _detections(
    folder: StudyFolder,
    models: dict[str, StudyModel],
    dataset: DetectionDataset,
    splits: Splits,
    on_message: Callable[[str], None],
    problems: list[str],
) -> dict[str, Detections]:
    found = {}
    on_message(f"report: {', '.join(models)} on {len(dataset)} images of the search split")
    for name, model in models.items():
        try:
            found[name] = detect(folder, model, dataset, fingerprint=splits.fingerprint)
        except DistuneError as error:
            problems.append(f"Pictures of {name} are missing: {_first_line(error)}.")
    return found


def _images_to_detect(dataset: DetectionDataset) -> DetectionDataset:
    if len(dataset) <= _MAX_DETECTED:
        return dataset
    chosen = np.linspace(0, len(dataset) - 1, _FEWER_DETECTED).round().astype(int)
    return Subset(dataset, chosen.tolist(), name=f"{dataset.name}, {_FEWER_DETECTED} images")


def _grid(
    dataset: DetectionDataset, truth: GroundTruth, models: dict[str, StudyModel], found: dict[str, Detections]
) -> PictureGrid:
    threshold = start_threshold(truth, found.get("best"))
    chosen = choose_images(truth, found, num_images=NUM_IMAGES, num_different=NUM_DIFFERENT, threshold=threshold)
    pictures = []
    for image in chosen:
        try:
            pictures.append(_picture(dataset, truth, image, models, found))
        except ImageError:  # a few images of a split may be damaged
            continue
    legend = [(name, index % NUM_COLORS) for index, name in enumerate(truth.classes)]
    return PictureGrid(pictures=pictures, legend=legend, threshold=threshold)


def _picture(
    dataset: DetectionDataset,
    truth: GroundTruth,
    image: ChosenImage,
    models: dict[str, StudyModel],
    found: dict[str, Detections],
) -> Picture:
    annotations = dataset.annotations(image.index)
    scale = PICTURE_PX / max(annotations.width, annotations.height)
    titles = {name: _title(name, model) for name, model in models.items()}
    panels = [
        truth_panel(truth, image.index, scale),
        *(model_panel(titles[name], each, image.index, truth.classes, scale) for name, each in found.items()),
    ]
    return Picture(
        title=annotations.file,
        caption=caption(image),
        data_uri=picture_uri(dataset, image.index),
        width=round(annotations.width * scale),
        height=round(annotations.height * scale),
        panels=panels,
    )


def _title(name: str, model: StudyModel) -> str:
    if name == "best":
        return f"best (trial {model.name})"
    return model.name if name == TEACHER else name


def _first_line(error: Exception) -> str:
    lines: Sequence[str] = str(error).splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
