"""Checks the weights that an experiment names before anything is trained, and says where they come from."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from distune.config.detector import DetectorSettings, PyramidDetectorSettings
from distune.config.pretrained import is_torchvision_name
from distune.detectors.norm_epsilon import affected_channels, epsilon_of_classifier
from distune.detectors.weight_sources import WeightSource, check_purpose, find_source
from distune.detectors.weights import Weights, fetch_weights
from distune.detectors.zoo import build_detector, build_trained_detector
from distune.errors import WeightsError

_ANY_CLASSES = ("object",)
"""Without data, the class head is not compared."""
_KEYS = ("backbone_weights", "weights")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DetectorInUse:
    """A detector and its use in a study.

    Attributes:
        role: section of its settings, ``teacher`` or ``student``.
        settings: of the detector.
        is_trained: whether its weights are only where training starts.
        classes: of the data; None where the data is not known.
        needed_by: names of what needs every class of the data; see ``build_trained_detector``.
        min_size_px: shorter side of images after resizing.
        max_size_px: bound of the longer side.
    """

    role: str
    settings: DetectorSettings
    is_trained: bool
    classes: tuple[str, ...] | None
    needed_by: tuple[str, ...]
    min_size_px: int
    max_size_px: int


def check_weights(detector: DetectorInUse, *, download: bool) -> list[str]:
    """Check that the weights of a detector exist, are finite and fit it.

    Args:
        detector: with its settings.
        download: download torchvision's weights that are not in torch's cache. Otherwise only their name is checked.

    Returns:
        A line for each of its weights: where they come from; and warnings.

    Raises:
        WeightsError: they do not exist or do not fit. Begins with the setting and its value.
    """
    lines: list[str] = []
    for key in _KEYS:
        name = getattr(detector.settings, key)
        if name is None:
            continue
        setting = f"{detector.role}.{key}"
        with _named_by(setting, name):
            check_purpose(name, detector.settings, key=key)
            source = find_source(name)
            lines += _describe_source(setting, name, source, download=download)
            if source.is_here or download:
                _try(detector, key)
                lines += _describe_content(detector, key)
            if key == "backbone_weights":
                lines += _warn_about_epsilon_of_backbone(detector)
    return lines


def _try(detector: DetectorInUse, key: str) -> None:
    """Build the detector with one of its weights. Raises ``WeightsError`` when they do not fit."""
    others: dict[str, Any] = {other: None for other in _KEYS if other != key}
    if key != "weights":
        others |= {"classes": None, "class_aliases": {}}
    settings = detector.settings.model_copy(update=others)
    sizes: dict[str, Any] = {"min_size_px": detector.min_size_px, "max_size_px": detector.max_size_px}
    if key == "weights" and not detector.is_trained and detector.classes is not None:
        build_trained_detector(settings, classes=detector.classes, needed_by=detector.needed_by, **sizes)
    else:
        build_detector(settings, classes=detector.classes or _ANY_CLASSES, seed=0, **sizes)


def _describe_source(setting: str, name: str, source: WeightSource, *, download: bool) -> list[str]:
    if source.url is None:
        return []
    if source.is_here:
        return [f"{setting}: {name} is in the cache, {source.path}"]
    size = "" if source.size_mb is None else f" {source.size_mb:.0f} MB"
    when = "downloading" if download else "not in the cache: distune launch downloads"
    return [f"{setting}: {name}: {when}{size} from {source.url} to {source.path}"]


def _describe_content(detector: DetectorInUse, key: str) -> list[str]:
    """Return the place of a state dict that is not at the top of its file, and a warning about an unknown epsilon."""
    name = getattr(detector.settings, key)
    if is_torchvision_name(name):
        return []
    weights = fetch_weights(name, unused=("",))  # the values have been checked
    lines = []
    if weights.place and not weights.is_own:
        lines.append(f"{detector.role}.{key}: the state dict of {name} was found under {weights.place}")
    if key == "weights" and weights.norm_eps is None:
        lines += _warn_about_epsilon(detector, weights)
    return lines


def _warn_about_epsilon(detector: DetectorInUse, weights: Weights) -> list[str]:
    """Warn when the epsilon of frozen norms has an effect, and neither the file nor the settings tell it."""
    settings = detector.settings
    if not isinstance(settings, PyramidDetectorSettings) or settings.norm != "frozen" or settings.norm_eps is not None:
        return []
    number = affected_channels(weights.state, epsilon=settings.epsilon or 0.0)
    if number == 0:
        return []
    setting = f"{detector.role}.norm_eps"
    return [
        f"warning: {setting}: the file of {detector.role}.weights does not tell the epsilon of its frozen batch norms, "
        f"and {settings.epsilon:g} is used; it changes {number} channels of small variance; set {setting}: 0 if the "
        "detector was fine-tuned from torchvision's ..._ResNet50_FPN_Weights.COCO_V1, else to 1e-5"
    ]


def _warn_about_epsilon_of_backbone(detector: DetectorInUse) -> list[str]:
    """Warn when the weights of the backbone are of a classifier with another epsilon, and the settings do not tell it.

    Weights of the whole detector replace those of the backbone, so they are what counts then.
    """
    settings = detector.settings
    if not isinstance(settings, PyramidDetectorSettings) or settings.norm_eps is not None:
        return []
    if settings.norm not in ("batch", "frozen") or settings.weights is not None:
        return []
    trained = epsilon_of_classifier(settings.backbone)
    if trained is None or trained == settings.epsilon:
        return []
    setting = f"{detector.role}.norm_eps"
    return [
        f"warning: {setting}: the classifier {settings.backbone}, whose weights {detector.role}.backbone_weights are, "
        f"has batch norms of epsilon {trained:g}, and {settings.epsilon:g} is used; set {setting}: {trained:g}"
    ]


@contextlib.contextmanager
def _named_by(setting: str, name: str) -> Iterator[None]:
    """Begin an error with the setting that named the weights."""
    try:
        yield
    except WeightsError as error:
        rest = str(error).removeprefix("weights ")
        is_about_it = rest.startswith((name, Path(name).name))
        raise WeightsError(f"{setting} = {rest}" if is_about_it else f"{setting}: {error}") from None
