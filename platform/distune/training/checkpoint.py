"""Checkpoints: tensors and plain values, written to a temporary name and renamed, read without running code."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from distune.detectors.weights import read_tensors
from distune.errors import TrialError, WeightsError


def save(state: dict[str, Any], path: Path) -> None:
    """Write a checkpoint so that a crash leaves the old one or the new one, never a part.

    Raises:
        TrialError: it could not be written, such as for a full disk.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, RuntimeError) as error:
        temporary.unlink(missing_ok=True)
        raise TrialError(f"{path}: the checkpoint could not be written: {error}") from error


def load(path: Path) -> dict[str, Any] | None:
    """Read a checkpoint onto the CPU; None when there is none or it is damaged."""
    if not path.is_file():
        return None
    try:
        state = read_tensors(path)
    except WeightsError:
        return None
    return state if isinstance(state, dict) else None
