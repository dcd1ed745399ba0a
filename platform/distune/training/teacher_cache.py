"""Keeps a teacher's maps of batches that repeat, in memory first, then on disk."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import Any

import torch

from distune.config.search import TeacherCacheSettings
from distune.detectors.taps import Frame, TeacherMaps
from distune.errors import TrialError
from distune.training import checkpoint
from distune.training.cache_folder import CacheFolder

_BYTES_PER_GB = 1e9
_CPU = torch.device("cpu")


@dataclasses.dataclass(frozen=True)
class _File:
    """The maps of a batch on disk.

    Attributes:
        path: of the file.
        outputs: names of the outputs of heads that it holds.
        num_bytes: of the maps.
    """

    path: Path
    outputs: frozenset[str]
    num_bytes: int


class TeacherCache:
    """The maps of the batches that were seen first, until the limits are reached.

    Nothing is replaced: each epoch sees all batches once, so the oldest would be the next that is needed. Maps are kept
    bit for bit. Errors of the disk never stop training: what cannot be read or written is computed again.

    Args:
        settings: the limits.
        folder: in which the files get a folder of their own, removed by ``close``, or by a later cache if this process
            is killed; None keeps no files.
    """

    def __init__(self, settings: TeacherCacheSettings, folder: Path | None = None) -> None:
        self._memory_left = settings.memory_gb * _BYTES_PER_GB
        self._disk_left = 0.0 if folder is None else settings.disk_gb * _BYTES_PER_GB
        self._parent = folder
        self._memory: dict[str, TeacherMaps] = {}
        self._files: dict[str, _File] = {}
        self._num_written = 0
        self._folder: CacheFolder | None = None

    def get(self, key: str, device: torch.device) -> TeacherMaps | None:
        """Return the maps of a batch on a device; None if they are not kept."""
        if key in self._memory:
            return self._memory[key].to(device)
        if key in self._files:
            content = checkpoint.load(self._files[key].path)
            if content is not None:
                return _from_dict(content).to(device)
        return None

    def add(self, key: str, maps: TeacherMaps) -> None:
        """Keep the maps of a batch, with the outputs of the heads that have run, if there is room.

        Args:
            key: of the batch. If it is kept already, only outputs that are new are added.
            maps: on any device.
        """
        if key in self._memory:
            self._add_outputs(key, maps)
        elif maps.num_bytes <= self._memory_left:
            self._memory[key] = maps.to(_CPU)
            self._memory_left -= maps.num_bytes
        elif key not in self._files or maps.outputs.keys() > self._files[key].outputs:
            self._write(key, maps)

    def close(self) -> None:
        """Forget all maps, and remove the files."""
        self._memory.clear()
        self._files.clear()
        if self._folder is not None:
            self._folder.remove()
            self._folder = None

    def _add_outputs(self, key: str, maps: TeacherMaps) -> None:
        kept = self._memory[key]
        new = TeacherMaps({}, maps.frame, {name: maps.outputs[name] for name in maps.outputs.keys() - kept.outputs})
        if new.outputs and new.num_bytes <= self._memory_left:
            self._memory[key] = TeacherMaps(kept.features, kept.frame, {**kept.outputs, **new.to(_CPU).outputs})
            self._memory_left -= new.num_bytes

    def _write(self, key: str, maps: TeacherMaps) -> None:
        former = self._files.get(key)
        num_more_bytes = maps.num_bytes - (0 if former is None else former.num_bytes)
        if num_more_bytes > self._disk_left:
            return
        with contextlib.suppress(OSError, TrialError):
            assert self._parent is not None
            self._folder = self._folder or CacheFolder(self._parent)
            path = self._folder.path / f"{self._num_written}.pt"
            self._num_written += 1
            checkpoint.save(_to_dict(maps.to(_CPU)), path)
            if former is not None:
                former.path.unlink(missing_ok=True)
            self._files[key] = _File(path, frozenset(maps.outputs), maps.num_bytes)
            self._disk_left -= num_more_bytes


def _to_dict(maps: TeacherMaps) -> dict[str, Any]:
    frame = {
        "padded_size": list(maps.frame.padded_size),
        "image_sizes": [list(each) for each in maps.frame.image_sizes],
    }
    return {"features": maps.features, "outputs": maps.outputs, **frame}


def _from_dict(content: dict[str, Any]) -> TeacherMaps:
    height, width = content["padded_size"]
    sizes = tuple((int(each[0]), int(each[1])) for each in content["image_sizes"])
    return TeacherMaps(content["features"], Frame((int(height), int(width)), sizes), content["outputs"])
