"""Checkpoints: tensors and plain values, written atomically, read without running code."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import torch

from distune.atomic_write import open_atomically
from distune.detectors.checkpoint_forms import read_tensors
from distune.errors import TrialError, WeightsError

RENAMED_PARTS = {
    "keeper.harvest.": "prototype_manager.queue.",
    "keeper.": "prototype_manager.",
}
"""Name prefixes in the state dict of an objective: those up to version 0.1, and the current ones; longer ones first."""


def save(state: dict[str, Any], path: Path) -> None:
    """Write a checkpoint atomically: a crash leaves the old file or the new one.

    Args:
        state: tensors and plain values.
        path: of the file; its folder is created.

    Raises:
        TrialError: the file could not be written, such as for a full disk.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open_atomically(path) as file:
            torch.save(state, file)
    except (OSError, RuntimeError) as error:
        raise TrialError(f"{path}: the checkpoint could not be written: {error}") from error


def save_next(state: dict[str, Any], last: Path, previous: Path) -> None:
    """Write a checkpoint, and keep the one before it under another name.

    Args:
        state: tensors and plain values.
        last: file of the new checkpoint.
        previous: file for the checkpoint that it replaces.

    Raises:
        TrialError: the checkpoint could not be written; both files are unchanged.
    """
    following = last.with_name(f".{last.name}.next")
    save(state, following)
    try:
        if last.is_file():
            previous.unlink(missing_ok=True)
            try:
                os.link(last, previous)
            except OSError:  # a file system without hard links; a crash right now costs one epoch
                last.replace(previous)
        following.replace(last)
    except OSError as error:
        raise TrialError(f"{last}: the checkpoint could not be replaced: {error}") from error


def load(path: Path) -> dict[str, Any] | None:
    """Read a checkpoint onto the CPU; None if the file is missing or its checksums do not match."""
    if not path.is_file() or not is_intact(path):
        return None
    try:
        state = read_tensors(path)
    except WeightsError:
        return None
    return state if isinstance(state, dict) else None


def load_newest(last: Path, previous: Path) -> tuple[dict[str, Any] | None, str | None]:
    """Read the last checkpoint of a trial; if it is damaged or lost, read the one before it.

    Args:
        last: file of the last checkpoint, which may be of an earlier version of distune.
        previous: file of the checkpoint before it.

    Returns:
        The checkpoint, None if there is none; and a message for the user, None if nothing is damaged or lost.
    """
    state = load(last)
    if state is not None:
        return with_current_names(state), None
    if not last.is_file() and not previous.is_file():
        return None, None
    state = load(previous)
    fault = f"{last} is {'damaged' if last.is_file() else 'missing'}"
    if state is None:
        return None, f"{fault}; there is no other checkpoint, so training restarts"
    return with_current_names(state), f"{fault}; resuming from {previous.name}"


def with_current_names(state: dict[str, Any]) -> dict[str, Any]:
    """Rename the parts of the objective in a checkpoint of an earlier version; see ``RENAMED_PARTS``."""
    objective = state.get("objective")
    if objective is None:
        return state
    renamed: dict[str, Any] = {}
    for name, value in objective.items():
        prefix = next((old for old in RENAMED_PARTS if name.startswith(old)), "")
        renamed[RENAMED_PARTS.get(prefix, "") + name.removeprefix(prefix)] = value
    return {**state, "objective": renamed}


def is_intact(path: Path) -> bool:
    """Return whether a file is there and all its checksums match. torch itself would read flipped bits as weights."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError, RuntimeError):
        return False
