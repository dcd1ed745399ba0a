"""The detector zoo: from settings to a detector. A new family is one file and one line here."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch

from distune.config.detector import DetectorSettings
from distune.detectors import fasterrcnn, retinanet
from distune.detectors.taps import Detector
from distune.detectors.weights import check_classes, fetch_weights, load_state


@dataclasses.dataclass(frozen=True)
class Family:
    """How a family is built, and which of its parameters depend on the classes."""

    build: Callable[..., Detector]
    replaceable: tuple[str, ...]


FAMILIES: dict[str, Family] = {
    "fasterrcnn": Family(fasterrcnn.FasterRcnnDetector, fasterrcnn.REPLACEABLE),
    "retinanet": Family(retinanet.RetinaNetDetector, retinanet.REPLACEABLE),
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
            it is must fit whole.

    Raises:
        WeightsError: the weights are unknown or do not fit; lists what differs.
    """
    family = FAMILIES[settings.family]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        detector = family.build(settings, num_classes=len(classes), min_size_px=min_size_px, max_size_px=max_size_px)
    if settings.weights is not None:
        load_weights(detector, settings.weights, classes=classes, for_training=for_training)
    return detector


def load_weights(detector: Detector, source: str, *, classes: Sequence[str], for_training: bool) -> None:
    """Load weights by name or from a file into a detector; see ``build_detector``. Raises ``WeightsError``."""
    weights = fetch_weights(source)
    if not for_training:
        check_classes(weights, classes, source=source)
    has_other_classes = weights.classes is not None and weights.classes != tuple(classes)
    state: dict[str, Any] = weights.state
    replaceable = FAMILIES[detector.family].replaceable if for_training else ()
    if has_other_classes:
        state = {name: value for name, value in state.items() if not name.startswith(replaceable)}
    load_state(detector.model, state, source=source, replaceable=replaceable)
