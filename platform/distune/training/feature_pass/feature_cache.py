"""Pooled features of a teacher, computed once for all trials of all studies that feature pass the same images with it.

A feature pass is cut into parts of some batches, a file each, named by the hash of everything that decides its
content. One process computes a part while those that want the same one wait. Features are kept in float32 as they
were computed:
what is read back is equal bit for bit, and half precision would select other prototypes.
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
"""By the images of a batch, its features of shape (levels, instances, channels), on the CPU."""

_LARGEST_BYTES = 4 * 1024**3
_PATIENCE_S = 600.0
"""How long to wait for the process that computes a part; then it is computed here as well."""


class FeatureCache:
    """Parts in the files of a folder; in memory, for this process alone, when there is no folder.

    When there is no room for a new part, files go that nobody has used since this cache was opened, oldest first; if
    that is not enough the part is not kept, and is computed anew in every feature_pass. Nothing that goes wrong with
    a file stops training.

    Args:
        folder: made when the first part is kept; None for memory.
        largest_bytes: of all parts together.
    """

    def __init__(self, folder: Path | None, *, largest_bytes: int = _LARGEST_BYTES) -> None:
        self._folder = folder
        self._largest_bytes = largest_bytes
        self._memory: dict[str, Features] = {}
        self._opened_at = time.time()

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[Features]:
        """What is known of a part. What the block adds to it is kept when the block ends well.

        Args:
            name: the hash of everything that decides the features, a valid file name.
        """
        with contextlib.ExitStack() as stack:
            known = self._read(name)
            if not known:
                stack.enter_context(self._alone(name))
                known = self._read(name)
            before = set(known)
            yield known
            if known.keys() > before:
                self._keep(name, known)

    @contextlib.contextmanager
    def _alone(self, name: str) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            if self._folder is not None:
                with contextlib.suppress(OSError, Timeout):
                    self._folder.mkdir(parents=True, exist_ok=True)
                    stack.enter_context(FileLock(self._folder / f"{name}.lock", timeout=_PATIENCE_S))
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

    def _keep(self, name: str, known: Features) -> None:
        size = sum(each.numel() * each.element_size() for each in known.values())
        if self._folder is None:
            held = sum(each.numel() * each.element_size() for part in self._memory.values() for each in part.values())
            if held + size <= self._largest_bytes:
                self._memory[name] = known
            return
        with contextlib.suppress(OSError, TrialError):
            if self._make_room(size):
                checkpoint.save(known, self._path(name))
                _touch(self._path(name))

    def _make_room(self, size: int) -> bool:
        assert self._folder is not None
        files = [(path, path.stat()) for path in self._folder.glob("*.pt")]
        excess = sum(stat.st_size for _, stat in files) + size - self._largest_bytes
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


def _touch(path: Path) -> None:
    """Marks a file as used now, by the clock that ``FeatureCache`` was opened by: a file system's own may lag."""
    now = time.time()
    with contextlib.suppress(OSError):
        os.utime(path, (now, now))
