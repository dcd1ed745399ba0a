"""Checkpoints: tensors and plain values, written to a temporary name and renamed, read without running code."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import torch

from distune.atomic_write import open_atomically
from distune.detectors.weights import read_tensors
from distune.errors import TrialError, WeightsError


def save(state: dict[str, Any], path: Path) -> None:
    """Write a checkpoint so that a crash leaves the old one or the new one, never a part.

    Raises:
        TrialError: it could not be written, such as for a full disk.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open_atomically(path) as file:
            torch.save(state, file)
    except (OSError, RuntimeError) as error:
        raise TrialError(f"{path}: the checkpoint could not be written: {error}") from error


def save_next(state: dict[str, Any], last: Path, previous: Path) -> None:
    """Write a checkpoint, and keep the one before it under another name.

    Raises:
        TrialError: it could not be written; both are as they were.
    """
    waiting = last.with_name(f".{last.name}.next")
    save(state, waiting)
    try:
        if last.is_file():
            previous.unlink(missing_ok=True)
            try:
                os.link(last, previous)
            except OSError:  # a file system without hard links; a crash right now costs one epoch
                last.replace(previous)
        waiting.replace(last)
    except OSError as error:
        raise TrialError(f"{last}: the checkpoint could not be replaced: {error}") from error


def load(path: Path) -> dict[str, Any] | None:
    """Read a checkpoint onto the CPU; None when there is none or it is damaged, by the checksums of its parts."""
    if not path.is_file() or not _is_whole(path):
        return None
    try:
        state = read_tensors(path)
    except WeightsError:
        return None
    return state if isinstance(state, dict) else None


def load_newest(last: Path, previous: Path) -> tuple[dict[str, Any] | None, str | None]:
    """Read the last checkpoint, or the one before it when the last one is damaged or was lost.

    Returns:
        The checkpoint, None when there is none to go on from; and what to tell a person, None when all is well.
    """
    state = load(last)
    if state is not None:
        return state, None
    if not last.is_file() and not previous.is_file():
        return None, None
    state = load(previous)
    fault = f"{last} is {'damaged' if last.is_file() else 'missing'}"
    remedy = "there is no other one, so training starts anew" if state is None else f"going on from {previous.name}"
    return state, f"{fault}; {remedy}"


def _is_whole(path: Path) -> bool:
    """Whether every part of the file has its checksum. torch itself reads flipped bits as weights."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError, RuntimeError):
        return False
