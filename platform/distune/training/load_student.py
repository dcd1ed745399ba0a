"""Loads the student of a distune checkpoint as a detector, ready for inference.

``checkpointed_student.py`` writes such a checkpoint, ``best.pt``, after each best epoch.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from distune.config.detector import DetectorSettings
from distune.config.experiment import Experiment
from distune.detectors.taps import Detector
from distune.detectors.zoo import build_trained_detector
from distune.errors import WeightsError
from distune.training import checkpoint


def load_student(path: Path, experiment: Experiment, classes: tuple[str, ...]) -> Detector:
    """Build the detector of a distune checkpoint, on the CPU. Raises ``WeightsError``."""
    content = checkpoint.load(path)
    if content is None or "detector" not in content:
        raise WeightsError(f"{path}: missing or not a distune checkpoint; that of a trial is best.pt")
    try:
        settings = TypeAdapter[DetectorSettings](DetectorSettings).validate_python(content["detector"])
    except ValidationError as error:
        raise WeightsError(f"{path}: made by another version of distune: {error}") from None
    return build_trained_detector(
        settings.with_weights(str(path)),
        classes=classes,
        min_size_px=experiment.data.min_size_px,
        max_size_px=experiment.data.max_size_px,
        needed_by=("the evaluation",),
    )
