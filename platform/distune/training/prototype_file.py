"""Prototypes as a file of their own, named by the hash of what they follow from: tensors, and figures about them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from distune.config.hashing import content_hash
from distune.detectors.weights import read_tensors
from distune.distillation.prototypes.prototype_manager import PrototypeManager
from distune.distillation.prototypes.prototypes import Prototypes
from distune.errors import WeightsError
from distune.training import checkpoint
from distune.training.trial_folder import TrialFolder

_FORMAT = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Origin:
    """What prototypes follow from.

    Attributes:
        teacher: hash of its weights.
        student: hash of its weights when the prototypes were saved. These were made at the start of ``made_for``, from
            a feature pass, or over the epoch before it, from a queue.
        data: fingerprint of the data.
        settings: of images, pooling and prototypes, plain data.
        made_for: the epoch that they were made for, from 0.
    """

    teacher: str
    student: str
    data: str
    settings: dict[str, Any]
    made_for: int

    @property
    def hash(self) -> str:
        """Equal origins have equal hashes."""
        return content_hash(dataclasses.asdict(self))


@dataclasses.dataclass(frozen=True)
class StoredPrototypes:
    """What a file of prototypes holds.

    Attributes:
        prototypes: on the CPU.
        classes: names, in the order of the prototypes.
        figures: metric name to value, as of ``PrototypeReport``.
        origin: what they follow from.
    """

    prototypes: Prototypes
    classes: tuple[str, ...]
    figures: dict[str, float]
    origin: Origin


def save_prototypes(
    prototype_manager: PrototypeManager, classes: tuple[str, ...], origin: Origin, folder: TrialFolder
) -> Path | None:
    """Write the present prototypes to a trial's folder, in place of earlier ones.

    Returns:
        The file; None when there are no prototypes.

    Raises:
        TrialError: it could not be written.
    """
    prototypes = prototype_manager.current
    if prototypes is None:
        return None
    content = {
        "format": _FORMAT,
        "origin": dataclasses.asdict(origin),
        "classes": list(classes),
        "strides": list(prototypes.strides),
        "figures": prototype_manager.metrics,
        "prototypes": {name: value.cpu() for name, value in prototypes.state_dict().items()},
    }
    path = folder.prototype_file(origin.hash)
    checkpoint.save(content, path)
    for other in folder.prototype_files():
        if other != path:
            other.unlink(missing_ok=True)
    return path


def load_prototypes(path: Path) -> StoredPrototypes:
    """Read a file of prototypes. Nothing in it can run code.

    Raises:
        WeightsError: there is no such file, it holds something else, or its name belongs to other prototypes.
    """
    content = read_tensors(path)
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise WeightsError(f"prototypes {path}: not a file of prototypes of format {_FORMAT}; make them anew")
    origin = Origin(**content["origin"])
    if path.stem != f"prototypes-{origin.hash}":
        raise WeightsError(
            f"prototypes {path}: holds those of prototypes-{origin.hash}.pt; it was renamed, rename it back"
        )
    state = content["prototypes"]
    _, num_classes, num_prototypes, student_channels = state["student"].shape
    prototypes = Prototypes(
        tuple(content["strides"]),
        num_classes=num_classes,
        num_prototypes=num_prototypes,
        student_channels=student_channels,
        teacher_channels=state["teacher"].shape[3],
    )
    prototypes.load_state_dict(state)
    return StoredPrototypes(prototypes, tuple(content["classes"]), dict(content["figures"]), origin)
