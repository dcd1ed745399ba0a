"""The cache of a teacher's pooled features, shared by all trials of all studies with the same teacher and images.

A feature pass is split into parts of some batches, one file each, named by the hash of everything that determines its
content. One process computes a part while others that need it wait. Features are stored in float32 as computed, so
cached values are bit-identical; half precision would select other prototypes.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout
from torch import Tensor

from distune.errors import TrialError
from distune.training import checkpoint

Features = dict[str, Tensor]
"""Maps the image indices of a batch to its features, (levels, instances, channels), on the CPU."""

_MAX_BYTES = 4 * 1024**3
_LOCK_TIMEOUT_S = 600.0
"""Seconds to wait for the process that computes a part before computing it here as well."""


class FeatureCache:
    """A cache in the files of a folder, or in the memory of this process.

    If a new part exceeds the size limit, files that were not used since this cache was opened are deleted, oldest
    first. If that is not enough, the part is not stored and every feature pass computes it again. File errors never
    stop training.

    Args:
        folder: created with the first part; None for memory.
        max_bytes: limit for all parts together.
    """

    def __init__(self, folder: Path | None, *, max_bytes: int = _MAX_BYTES) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._memory: dict[str, Features] = {}
        self._opened_at = time.time()

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[Features]:
        """Open a part. Features that the block adds are stored if the block ends without an error.

        Args:
            name: the hash of everything that determines the features, a valid file name.

        Yields:
            The cached features of the part, to add to.
        """
        with contextlib.ExitStack() as stack:
            cached = self._read(name)
            if not cached:
                stack.enter_context(self._lock(name))
                cached = self._read(name)
            before = set(cached)
            yield cached
            if cached.keys() > before:
                self._store(name, cached)

    @contextlib.contextmanager
    def _lock(self, name: str) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            if self._folder is not None:
                with contextlib.suppress(OSError, Timeout):
                    self._folder.mkdir(parents=True, exist_ok=True)
                    stack.enter_context(FileLock(self._folder / f"{name}.lock", timeout=_LOCK_TIMEOUT_S))
            yield

    def _read(self, name: str) -> Features:
        if self._folder is None:
            return self._memory.get(name, {})
        path = self._path(name)
        content = checkpoint.load(path)
        if content is None:
            return {}
        _touch(path)
        return content

    def _store(self, name: str, part: Features) -> None:
        size = _num_bytes(part)
        if self._folder is None:
            if sum(map(_num_bytes, self._memory.values())) + size <= self._max_bytes:
                self._memory[name] = part
            return
        with contextlib.suppress(OSError, TrialError):
            if self._make_room(size):
                checkpoint.save(part, self._path(name))
                _touch(self._path(name))

    def _make_room(self, size: int) -> bool:
        assert self._folder is not None
        files = [(path, path.stat()) for path in self._folder.glob("*.pt")]
        excess = sum(stat.st_size for _, stat in files) + size - self._max_bytes
        removable = [(stat.st_mtime, path, stat.st_size) for path, stat in files if stat.st_mtime < self._opened_at]
        if excess > sum(each for _, _, each in removable):
            return False
        for _, path, freed in sorted(removable):
            if excess <= 0:
                break
            path.unlink(missing_ok=True)
            path.with_suffix(".lock").unlink(missing_ok=True)
            excess -= freed
        return True

    def _path(self, name: str) -> Path:
        assert self._folder is not None
        return self._folder / f"{name}.pt"


def _num_bytes(part: Features) -> int:
    return sum(each.numel() * each.element_size() for each in part.values())


def _touch(path: Path) -> None:
    """Mark a file as used now. The file system's clock may differ from the one that ``FeatureCache`` reads."""
    now = time.time()
    with contextlib.suppress(OSError):
        os.utime(path, (now, now))
