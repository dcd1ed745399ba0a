"""Runs students on images: boxes as COCO JSON, and pictures that show them."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distune.api.own_teacher import find_teacher
from distune.api.preparation import open_data
from distune.api.study_models import TEACHER, StudyModel, find_model
from distune.atomic_write import write_atomically
from distune.config.home import Home
from distune.errors import DataError, DistuneError, UsageError
from distune.study.callback import StudyCallback
from distune.study.files.study_folder import StudyFolder
from distune.study.status import StudyStatus

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from distune.data.images import ImageFile, ValueRange

PREDICTIONS_FILE = "predictions.json"
DEFAULT_MIN_SCORE = 0.3
_CONTROL = "control"

OnProgress = Callable[[int, int], None]
"""Receives the numbers of images done and in total."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Predictions:
    """The files of predictions.

    Attributes:
        file: COCO JSON: ``images``, ``categories``, and ``annotations`` with a ``score`` each.
        pictures: folder with a picture for each image; None without pictures.
        num_images: images that the student ran on.
        num_boxes: boxes in ``file``.
        unreadable: file to problem, of the images that could not be read.
    """

    file: Path
    pictures: Path | None
    num_images: int
    num_boxes: int
    unreadable: dict[Path, str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Runner:
    """A detector on its device."""

    title: str
    model: nn.Module
    device: torch.device
    autocast_dtype: torch.dtype | None
    labels_K: Tensor | None

    def run(self, image: Tensor) -> dict[str, Tensor]:
        from distune.training.evaluation.predict_and_score import run_detector

        (found,) = run_detector(
            self.model, [image], device=self.device, autocast_dtype=self.autocast_dtype, labels_K=self.labels_K
        )
        return found


def predict_images(
    folder: StudyFolder,
    home: Home,
    status: StudyStatus,
    trial: int | str | None,
    images: Sequence[str | PathLike[str]],
    *,
    output: Path | None,
    min_score: float,
    beside: Sequence[str],
    with_pictures: bool,
    callback: StudyCallback,
    on_progress: OnProgress,
) -> Predictions:
    """Run a student of a study on images; see ``Study.predict``.

    Args:
        folder: of the study.
        home: holds the teacher.
        status: of the study.
        trial: see ``find_model``.
        images: files and folders.
        output: folder of the results; ``predictions/STUDY-TRIAL`` when None.
        min_score: boxes below it are left out.
        beside: ``teacher`` and ``control``: also drawn, beside the student.
        with_pictures: draw pictures.
        callback: receives messages.
        on_progress: called after each image.

    Returns:
        The files.

    Raises:
        StudyError: there is no such student.
        UsageError: an image does not exist, or ``min_score`` is not between 0 and 1.
        DataError: no image can be read.
    """
    from distune.data.dataset import ImageError
    from distune.data.images import read_image
    from distune.data.input_images import find_input_images, inspect_input_images
    from distune.training.evaluation.prediction_files import box_records, draw_picture, image_record, picture_names

    if not 0 <= min_score <= 1:
        raise UsageError(f"min_score = {min_score}: must be between 0 and 1")
    unknown = [name for name in beside if name not in (TEACHER, _CONTROL)]
    if unknown:
        raise UsageError(f"beside = {', '.join(unknown)}: must be teacher, control, or both")
    student = find_model(folder, home, status, trial)
    others = [
        find_teacher(folder, home, status, student.weights.parent)
        if name == TEACHER
        else find_model(folder, home, status, name)
        for name in beside
    ]
    headers, unreadable = inspect_input_images(find_input_images([Path(each) for each in images]))
    if not headers:
        file, problem = next(iter(unreadable.items()))
        raise DataError(f"none of the images can be read; {file}: {problem}")
    classes = student.classes()
    runners = [_open(model, classes) for model in (student, *others)]
    value_range = _value_range(student, headers, callback)
    output = Path("predictions") / f"{status.study}-{student.name}" if output is None else output
    pictures = output / "pictures" if with_pictures else None
    names = picture_names(list(headers)) if with_pictures else {}
    records: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    with _evaluating(runners):
        for path in headers:  # one at a time: in a batch, the padding for larger images would change the boxes a little
            try:
                image = read_image(path, file=str(path), is_turned=True, value_range=value_range)
            except ImageError as error:
                unreadable[path] = error.problem
                continue
            found = {runner.title: _at_least(runner.run(image), min_score) for runner in runners}
            records.append(image_record(len(records) + 1, path, image))
            annotations += box_records(len(annotations) + 1, len(records), found[student.title])
            if pictures is not None:
                draw_picture(image, found, classes, pictures / names[path])
            on_progress(len(records) + len(unreadable), len(headers) + len(unreadable))
    if not records:
        file, problem = next(iter(unreadable.items()))
        raise DataError(f"none of the images can be read; {file}: {problem}")
    categories = [{"id": label, "name": name} for label, name in enumerate(classes, start=1)]
    info = {"description": f"distune {status.study}, {student.title}", "min_score": min_score}
    content = {"info": info, "images": records, "categories": categories, "annotations": annotations}
    output.mkdir(parents=True, exist_ok=True)
    write_atomically(output / PREDICTIONS_FILE, json.dumps(content).encode())
    return Predictions(
        file=output / PREDICTIONS_FILE,
        pictures=pictures,
        num_images=len(records),
        num_boxes=len(annotations),
        unreadable=unreadable,
    )


def _open(model: StudyModel, classes: tuple[str, ...]) -> _Runner:
    from distune.detectors.classes import class_table
    from distune.training.precision import autocast_dtype, pick_device

    settings = model.experiment
    device = pick_device(settings.resources.gpus_per_trial)
    detector = model.load(classes)
    table = class_table(detector)
    return _Runner(
        title=model.title,
        model=detector.model.to(device),
        device=device,
        autocast_dtype=autocast_dtype(settings.training.precision, device),
        labels_K=None if table is None else table.labels_among(classes),
    )


@contextlib.contextmanager
def _evaluating(runners: Sequence[_Runner]) -> Iterator[None]:
    import torch

    from distune.detectors.maskrcnn import boxes_only
    from distune.detectors.modes import eval_mode

    with contextlib.ExitStack() as stack:
        for runner in runners:
            stack.enter_context(eval_mode(runner.model))
            stack.enter_context(boxes_only(runner.model))
        stack.enter_context(torch.inference_mode())
        yield


def _value_range(student: StudyModel, headers: Mapping[Path, ImageFile], callback: StudyCallback) -> ValueRange | None:
    """Return the range of images of more than 8 bits: that of the training data, which the student has learnt."""
    from distune.data.input_images import common_value_range

    given = common_value_range(headers.values())
    if given is None:
        return None
    try:
        known = open_data(student.experiment, on_message=lambda _: None, decode=False).value_range
    except DistuneError as error:
        callback.on_message(f"the data of the study cannot be opened: {error}")
        known = None
    if known is None:
        low, high = given
        callback.on_message(
            f"warning: images of more than 8 bits: the range of the training data is not known, so the values {low:g} "
            f"to {high:g} of these images become 0 to 255"
        )
    return known or given


def _at_least(output: Mapping[str, Tensor], min_score: float) -> dict[str, Tensor]:
    """Return the detections of at least a score, the surest first."""
    order = output["scores"].argsort(descending=True)
    order = order[output["scores"][order] >= min_score]
    return {name: values[order] for name, values in output.items()}
