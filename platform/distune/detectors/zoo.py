"""The detector zoo: builds detectors from settings. A new family is one file and one line here."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch

from distune.config.detector import DetectorSettings
from distune.detectors import fasterrcnn, fcos, maskrcnn, retinanet, ssd, ssdlite
from distune.detectors.classes import RelabelledTeacher, match_classes, refuse_unknown
from distune.detectors.resizing import smooth_resize
from distune.detectors.taps import Detector
from distune.detectors.weights import Weights, check_classes, fetch_weights, load_state, named_classes
from distune.errors import WeightsError

_UNNAMED = "the weights name no classes; if they are not those of the data, list them in the setting `classes`"


@dataclasses.dataclass(frozen=True)
class Family:
    """The build function of a family, and the parameters that depend on the classes."""

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
        seed: of the initial weights. The global random state does not change.
        for_training: allow weights of other classes, with new class heads. Otherwise the weights must fit completely;
            ``build_trained_detector`` maps classes.

    Returns:
        The detector.

    Raises:
        WeightsError: the weights are unknown or do not fit; lists what differs.
    """
    detector = _build(settings, num_classes=len(classes), min_size_px=min_size_px, max_size_px=max_size_px, seed=seed)
    smooth_resize(detector.model)
    if settings.weights is None:
        return detector
    weights = _fetch(settings)
    if not for_training:
        check_classes(weights, classes, source=settings.weights)
    state = weights.state
    replaceable = FAMILIES[settings.family].replaceable if for_training else ()
    if weights.classes is not None and weights.classes != tuple(classes):
        state = {name: value for name, value in state.items() if not name.startswith(replaceable)}
    _load(detector, settings, dataclasses.replace(weights, state=state), replaceable=replaceable)
    return detector


def build_trained_detector(
    settings: DetectorSettings,
    *,
    classes: Sequence[str],
    min_size_px: int,
    max_size_px: int,
    needed_by: Sequence[str] = (),
) -> Detector:
    """Build a detector that is used with the weights it has, on the CPU. Its class list may differ from the data's.

    Args:
        settings: of the detector, with weights.
        classes: of the data, without background; label 1 is the first.
        min_size_px: shorter side after resizing.
        max_size_px: bound of the longer side.
        needed_by: names of what needs every class of the data, for the error. If empty, the teacher may lack classes.

    Returns:
        The detector; its outputs are in the classes of the data.

    Raises:
        WeightsError: the weights are unknown or do not fit; lists what differs.
    """
    assert settings.weights is not None, "a teacher that is not trained has weights"
    weights = _fetch(settings)
    teacher_classes = tuple(classes) if weights.classes is None else weights.classes
    table = match_classes(classes, teacher_classes, aliases=settings.class_aliases, source=settings.weights)
    refuse_unknown(table, needed_by=needed_by, source=settings.weights)
    bare = settings.with_weights(None)
    detector = _build(bare, num_classes=len(teacher_classes), min_size_px=min_size_px, max_size_px=max_size_px, seed=0)
    remedy = None if weights.classes is not None else _UNNAMED
    _load(detector, settings, weights, remedy=remedy)
    if weights.is_own:  # other detectors shrink images as torchvision does, which they were probably trained with
        smooth_resize(detector.model)
    return detector if table.is_identity else RelabelledTeacher(detector, table)


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


def _load(
    detector: Detector,
    settings: DetectorSettings,
    weights: Weights,
    *,
    replaceable: Sequence[str] = (),
    remedy: str | None = None,
) -> None:
    """Load weights that do not fit with an error that also says whether they fit the other version of the head."""
    source = f"{settings.weights} ({weights.place})" if weights.place else str(settings.weights)
    try:
        load_state(detector.model, weights.state, source=source, replaceable=replaceable, remedy=remedy)
    except WeightsError:
        head = getattr(settings, "head", None)
        other = {"v1": "v2", "v2": "v1"}.get(str(head))
        if other is None:
            raise
        names = set(detector.model.state_dict()) ^ set(weights.state)
        bare = settings.model_copy(update={"head": other, "weights": None, "backbone_weights": None, "norm": "batch"})
        alternative = _build(bare, num_classes=1, min_size_px=64, max_size_px=64, seed=0).model.state_dict()
        if len(set(alternative) ^ set(weights.state)) < len(names):
            remedy = f"they are closer to head: {other} than to head: {head}, which is set"
        load_state(detector.model, weights.state, source=source, replaceable=replaceable, remedy=remedy)


def _fetch(settings: DetectorSettings) -> Weights:
    """Fetch the weights that the settings name, with the classes in the settings if the file has none."""
    assert settings.weights is not None
    weights = fetch_weights(settings.weights)
    if settings.classes is None:
        return weights
    classes = named_classes(settings.classes)
    check_classes(weights, classes, source=settings.weights)
    return dataclasses.replace(weights, classes=classes)
