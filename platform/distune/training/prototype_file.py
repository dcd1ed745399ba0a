"""Prototype files: prototypes and metrics about them, named by the hash of their origin."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from distune.config.hashing import content_hash
from distune.detectors.checkpoint_forms import read_tensors
from distune.distillation.prototypes.prototype_manager import PrototypeManager
from distune.distillation.prototypes.prototypes import Prototypes
from distune.errors import WeightsError
from distune.training import checkpoint
from distune.training.trial_folder import TrialFolder

_FORMAT = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Origin:
    """Everything that determines prototypes.

    Attributes:
        teacher: hash of its weights.
        student: hash of its weights when the prototypes were saved. A feature pass makes prototypes before the first
            epoch that uses them, a queue over the epoch before it.
        data: fingerprint of the data.
        settings: of images, pooling, centers, levels and prototypes, plain data.
        made_for: number of epochs before the first one that uses the prototypes. It is part of the file's name.
    """

    teacher: str
    student: str
    data: str
    settings: dict[str, Any]
    made_for: int

    @property
    def hash(self) -> str:
        """Hash of all fields."""
        return content_hash(dataclasses.asdict(self))


@dataclasses.dataclass(frozen=True)
class StoredPrototypes:
    """The content of a prototype file.

    Attributes:
        prototypes: on the CPU.
        classes: names, in the order of the prototypes.
        figures: metric name to value, as of ``PrototypeReport``.
        origin: everything that determines them.
    """

    prototypes: Prototypes
    classes: tuple[str, ...]
    figures: dict[str, float]
    origin: Origin


def save_prototypes(
    prototype_manager: PrototypeManager, classes: tuple[str, ...], origin: Origin, folder: TrialFolder
) -> Path | None:
    """Write the current prototypes to a trial's folder, and remove earlier ones.

    Args:
        prototype_manager: holds the prototypes.
        classes: names, in the order of the prototypes.
        origin: of the prototypes.
        folder: of the trial.

    Returns:
        The file; None if there are no prototypes.

    Raises:
        TrialError: the file could not be written.
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
    """Read a prototype file. Nothing in it can run code.

    Args:
        path: of the file.

    Returns:
        Its content.

    Raises:
        WeightsError: the file is missing, of another kind, or has the name of other prototypes.
    """
    content = read_tensors(path)
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise WeightsError(f"prototypes {path}: not a prototype file of format {_FORMAT}; train the trial again")
    try:
        return _stored(path, content)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(f"prototypes {path}: not a prototype file, or a damaged one ({reason})") from None


def _stored(path: Path, content: dict[str, Any]) -> StoredPrototypes:
    origin = Origin(**content["origin"])
    if path.stem != f"prototypes-{origin.hash}":
        raise WeightsError(
            f"prototypes {path}: the content belongs to prototypes-{origin.hash}.pt; rename the file back"
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
