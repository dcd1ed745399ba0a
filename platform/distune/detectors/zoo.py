"""The detector zoo: from settings to a detector. A new family is one file and one line here."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch

from distune.config.detector import DetectorSettings
from distune.detectors import fasterrcnn, fcos, maskrcnn, retinanet, ssd, ssdlite
from distune.detectors.classes import TeacherOfOtherClasses, match_classes, refuse_unknown
from distune.detectors.taps import Detector
from distune.detectors.weights import Weights, check_classes, fetch_weights, load_state, named_classes

_UNNAMED = "the weights name no classes; if they are not those of the data, say them in the setting `classes`"


@dataclasses.dataclass(frozen=True)
class Family:
    """How a family is built, and which of its parameters depend on the classes."""

    build: Callable[..., Detector]
    replaceable: tuple[str, ...]


FAMILIES: dict[str, Family] = {
    "fasterrcnn": Family(fasterrcnn.build_fasterrcnn, fasterrcnn.REPLACEABLE),
    "fcos": Family(fcos.build_fcos, fcos.REPLACEABLE),
    "maskrcnn": Family(maskrcnn.build_maskrcnn, maskrcnn.REPLACEABLE),
    "retinanet": Family(retinanet.build_retinanet, retinanet.REPLACEABLE),
    "ssd": Family(ssd.build_ssd, ssd.REPLACEABLE),
    "ssdlite": Family(ssdlite.build_ssdlite, ssdlite.REPLACEABLE),
}


def build_detector(
    settings: DetectorSettings,
    *,
    classes: Sequence[str],
    min_size_px: int,
    max_size_px: int,
    seed: int,
    for_training: bool = True,
) -> Detector:
    """Build a detector on the CPU with its initial weights.

    Args:
        settings: family, backbone, neck and weights.
        classes: class names without background; label 1 is the first.
        min_size_px: shorter side after resizing.
        max_size_px: bound of the longer side.
        seed: of the initial weights. Global random state is left as it was.
        for_training: whether weights of other classes may be loaded, with new class heads. A detector that is used as
            it is must fit whole; ``build_teacher`` translates.

    Raises:
        WeightsError: the weights are unknown or do not fit; lists what differs.
    """
    detector = _build(settings, num_classes=len(classes), min_size_px=min_size_px, max_size_px=max_size_px, seed=seed)
    if settings.weights is None:
        return detector
    weights = _fetch(settings)
    if not for_training:
        check_classes(weights, classes, source=settings.weights)
    state = weights.state
    replaceable = FAMILIES[settings.family].replaceable if for_training else ()
    if weights.classes is not None and weights.classes != tuple(classes):
        state = {name: value for name, value in state.items() if not name.startswith(replaceable)}
    load_state(detector.model, state, source=settings.weights, replaceable=replaceable)
    return detector


def build_teacher(
    settings: DetectorSettings,
    *,
    classes: Sequence[str],
    min_size_px: int,
    max_size_px: int,
    needed_by: Sequence[str] = (),
) -> Detector:
    """Build a detector that is used as its weights are, on the CPU. Its class list may be another than the data's.

    Args:
        settings: of the detector, with weights.
        classes: of the data, without background; label 1 is the first.
        min_size_px: shorter side after resizing.
        max_size_px: bound of the longer side.
        needed_by: who needs to be told about every class of the data, for the error; without anybody the teacher may
            lack some.

    Raises:
        WeightsError: the weights are unknown or do not fit; lists what differs.
    """
    assert settings.weights is not None, "a teacher that is not trained has weights"
    weights = _fetch(settings)
    own = tuple(classes) if weights.classes is None else weights.classes
    table = match_classes(classes, own, aliases=settings.class_aliases, source=settings.weights)
    refuse_unknown(table, needed_by=needed_by, source=settings.weights)
    bare = settings.with_weights(None)
    detector = _build(bare, num_classes=len(own), min_size_px=min_size_px, max_size_px=max_size_px, seed=0)
    remedy = None if weights.classes is not None else _UNNAMED
    load_state(detector.model, weights.state, source=settings.weights, remedy=remedy)
    return detector if table.is_identity else TeacherOfOtherClasses(detector, table)


def _build(settings: DetectorSettings, *, num_classes: int, min_size_px: int, max_size_px: int, seed: int) -> Detector:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        build = FAMILIES[settings.family].build
        detector = build(settings, num_classes=num_classes, min_size_px=min_size_px, max_size_px=max_size_px)
    transform: Any = detector.model.transform
    if settings.input_mean is not None:
        transform.image_mean = list(settings.input_mean)
    if settings.input_std is not None:
        transform.image_std = list(settings.input_std)
    return detector


def _fetch(settings: DetectorSettings) -> Weights:
    """The weights that the settings name, with the classes that they name, if the weights do not."""
    assert settings.weights is not None
    weights = fetch_weights(settings.weights)
    if settings.classes is None:
        return weights
    classes = named_classes(settings.classes)
    check_classes(weights, classes, source=settings.weights)
    return dataclasses.replace(weights, classes=classes)
