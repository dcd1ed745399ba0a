"""The detector zoo: builds detectors from settings. A new family is one file and one line here."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch

from distune.config.detector import DetectorSettings, PyramidDetectorSettings
from distune.config.pretrained import is_torchvision_name
from distune.detectors import fasterrcnn, fcos, maskrcnn, retinanet, ssd, ssdlite
from distune.detectors.bodies import other_backbone
from distune.detectors.checkpoint_forms import StateDict
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
    weights = None if settings.weights is None else _fetch(settings)
    built = settings if weights is None else _with_epsilon(settings, weights)
    detector = _build(built, num_classes=len(classes), min_size_px=min_size_px, max_size_px=max_size_px, seed=seed)
    smooth_resize(detector.model)
    if settings.weights is None or weights is None:
        return detector
    if not for_training:
        check_classes(weights, classes, source=settings.weights)
    state = weights.state
    replaceable = FAMILIES[settings.family].replaceable if for_training else ()
    if weights.classes is not None and weights.classes != tuple(classes):
        state = {name: value for name, value in state.items() if not name.startswith(replaceable)}
    fitting = dataclasses.replace(weights, state=state)
    _load(detector, settings, fitting, num_classes=len(classes), replaceable=replaceable)
    return detector


def with_known_epsilon(settings: DetectorSettings) -> DetectorSettings:
    """Return settings with the epsilon that the file of their weights tells, for a record of the detector."""
    can_tell = isinstance(settings, PyramidDetectorSettings) and settings.norm_eps is None
    if not can_tell or settings.weights is None or is_torchvision_name(settings.weights):
        return settings
    return _with_epsilon(settings, fetch_weights(settings.weights))


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
    bare = _with_epsilon(settings, weights).with_weights(None)
    detector = _build(bare, num_classes=len(teacher_classes), min_size_px=min_size_px, max_size_px=max_size_px, seed=0)
    _load(detector, settings, weights, num_classes=len(teacher_classes))
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
    num_classes: int,
    replaceable: Sequence[str] = (),
) -> None:
    """Load weights. If they do not fit, the error also says which setting they would fit, where that is clear."""
    source = f"{settings.weights} ({weights.place})" if weights.place else str(settings.weights)
    try:
        load_state(detector.model, weights.state, source=source, replaceable=replaceable)
    except WeightsError:
        remedy = _remedy(detector, settings, weights, num_classes=num_classes)
        load_state(detector.model, weights.state, source=source, replaceable=replaceable, remedy=remedy)


def _remedy(detector: Detector, settings: DetectorSettings, weights: Weights, *, num_classes: int) -> str | None:
    """Return the setting that weights which do not fit would need; None where it is not clear."""
    body = other_backbone(weights.state, settings.backbone)
    if body is not None:
        return body
    head = str(getattr(settings, "head", None))
    other = {"v1": "v2", "v2": "v1"}.get(head)
    if other is not None:
        names = set(detector.model.state_dict()) ^ set(weights.state)
        if len(set(_state_from_scratch(settings, 1, head=other)) ^ set(weights.state)) < len(names):
            return f"they are closer to head: {other} than to head: {head}, which is set"
    counted = _count_classes(settings, weights.state)
    if counted not in (None, num_classes):
        origin = "the setting `classes` lists" if settings.classes else "the data has"
        return f"they have {counted} classes, and {origin} {num_classes}; {_UNNAMED}"
    return None if weights.classes is not None else _UNNAMED


def _count_classes(settings: DetectorSettings, state: StateDict) -> int | None:
    """Return the number of classes that the class head in a state dict has; None where it is of another detector."""
    one, two = (_state_from_scratch(settings, number) for number in (1, 2))
    for name in one:
        step = two[name].shape[0] - one[name].shape[0] if one[name].dim() else 0
        if step > 0 and name in state and state[name].dim():
            counted, rest = divmod(state[name].shape[0] - one[name].shape[0], step)
            return None if rest or counted < 0 else counted + 1
    return None


def _state_from_scratch(settings: DetectorSettings, num_classes: int, **changes: Any) -> StateDict:
    """Return the state dict of a detector with random weights."""
    bare = settings.model_copy(update={"weights": None, "backbone_weights": None, **changes})
    built = _build(bare, num_classes=num_classes, min_size_px=64, max_size_px=64, seed=0)
    state: StateDict = built.model.state_dict()
    return state


def _with_epsilon(settings: DetectorSettings, weights: Weights) -> DetectorSettings:
    """Return settings with the epsilon that the weights were made with, where they tell it and the settings do not."""
    epsilon = weights.norm_eps
    if not isinstance(settings, PyramidDetectorSettings) or epsilon is None or settings.norm_eps is not None:
        return settings
    if settings.norm == "own" or epsilon == settings.epsilon or (epsilon == 0 and settings.norm != "frozen"):
        return settings
    return settings.model_copy(update={"norm_eps": epsilon})


def _fetch(settings: DetectorSettings) -> Weights:
    """Fetch the weights that the settings name, with the classes in the settings if the file has none."""
    assert settings.weights is not None
    weights = fetch_weights(settings.weights)
    if settings.classes is None:
        return weights
    classes = named_classes(settings.classes)
    check_classes(weights, classes, source=settings.weights)
    return dataclasses.replace(weights, classes=classes)
