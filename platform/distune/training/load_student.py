"""Loads the student of a distune checkpoint as a detector, ready for inference.

``checkpointed_student.py`` writes such a checkpoint, ``best.pt``, after each best epoch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from distune.config.detector import DetectorSettings
from distune.config.experiment import Experiment
from distune.detectors.taps import Detector
from distune.detectors.zoo import build_trained_detector
from distune.errors import WeightsError
from distune.training import checkpoint


def load_student(
    path: Path, experiment: Experiment, classes: tuple[str, ...], *, may_lack_classes: bool = False
) -> Detector:
    """Build the detector of a distune checkpoint, on the CPU.

    Args:
        path: of the checkpoint.
        experiment: gives the size of the images.
        classes: of the data; the outputs of the detector are in these.
        may_lack_classes: accept a detector that does not know all of them, such as a teacher of other data.

    Returns:
        The detector.

    Raises:
        WeightsError: the file is no such checkpoint, says what it is; or the detector lacks classes.
    """
    settings = read_detector_settings(path)
    return build_trained_detector(
        settings.with_weights(str(path)),
        classes=classes,
        min_size_px=experiment.data.min_size_px,
        max_size_px=experiment.data.max_size_px,
        needed_by=() if may_lack_classes else ("the evaluation",),
    )


def read_detector_settings(path: Path) -> DetectorSettings:
    """Read the settings of the detector in a distune checkpoint. Raises ``WeightsError`` when it is none."""
    content = checkpoint.load(path)
    if content is None or "detector" not in content:
        raise WeightsError(f"checkpoint {path}: {_why_not(path, content)}")
    try:
        return TypeAdapter[DetectorSettings](DetectorSettings).validate_python(content["detector"])
    except ValidationError as error:
        raise WeightsError(f"{path}: made by another version of distune: {error}") from None


def _why_not(path: Path, content: dict[str, Any] | None) -> str:
    """Return why a path is no checkpoint of a student."""
    if path.is_dir():
        best = path / "best.pt"
        return f"is a folder; {f'did you mean {best}?' if best.is_file() else 'give the file best.pt of a trial'}"
    if not path.exists():
        return "there is no such file; distune best NAME shows that of the best trial"
    if content is None:
        return "is no checkpoint, or is damaged; the checkpoint of a trial is best.pt in its folder"
    return (
        "is a checkpoint without the settings of its detector, such as last.pt of a trial, or one of another program; "
        "give best.pt of a trial"
    )
