"""Inspects all image files of a data set, and remembers large ones in the cache of the user.

The cache is a JSON file for each root folder, in ``platformdirs.user_cache_path("distune")``. An entry is valid while
the size and the time of its file stay the same. Without a writable cache the files are inspected every time.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import platformdirs

from distune.atomic_write import write_atomically
from distune.data.dataset import ImageError
from distune.data.images import ImageFile, inspect_image

CACHED_FROM_BYTES = 64 * 2**20
"""Data sets with fewer bytes are inspected every time, which takes less than a second."""
_FORMAT = 2
"""Raised with every change of what is known of a file. 2: files in TIFF have no orientation."""
_WORKERS = 8

Scan = dict[str, ImageFile | ImageError]
"""Name of each file to what is known of it, or to why it cannot be read."""


def scan_images(
    root: Path,
    files: Mapping[str, Path],
    *,
    cache: Path | None = None,
    inspect: Callable[..., ImageFile] = inspect_image,
) -> Scan:
    """Inspect files, except those that the cache knows.

    Args:
        root: folder of the data set.
        files: name in messages to path.
        cache: folder of the cache; None is that of the user.
        inspect: ``inspect_image``.

    Returns:
        An entry for each name.
    """
    stats = {name: _stat(path) for name, path in files.items()}
    known = None
    if sum(size for size, _ in stats.values()) >= CACHED_FROM_BYTES:
        folder = platformdirs.user_cache_path("distune") if cache is None else cache
        identity = hashlib.blake2b(str(root.resolve()).encode(), digest_size=16).hexdigest()
        known = folder / "images" / f"{identity}.json"
    entries = {} if known is None else _load(known)
    scan: Scan = {}
    for name, (size, time) in stats.items():
        entry = entries.get(name)
        if entry is not None and entry["stat"] == [size, time]:
            scan[name] = _from_json(entry["file"])

    def attempt(name: str) -> ImageFile | ImageError:
        try:
            return inspect(files[name], file=name)
        except ImageError as error:
            return error

    unknown = [name for name in files if name not in scan]
    with ThreadPoolExecutor(max_workers=_WORKERS) as pool:
        scan |= dict(zip(unknown, pool.map(attempt, unknown), strict=True))
    if known is not None and unknown:
        new = {
            name: {"stat": list(stats[name]), "file": _to_json(found)}
            for name, found in scan.items()
            if isinstance(found, ImageFile)
        }
        _save(known, {**entries, **new})
    return scan


def _stat(path: Path) -> tuple[int, int]:
    try:
        found = os.stat(path)  # noqa: PTH116 - a method of Path is slow for many files
    except OSError:
        return 0, 0
    return found.st_size, found.st_mtime_ns


def _load(path: Path) -> dict[str, dict[str, Any]]:
    try:
        content = json.loads(path.read_bytes())
        return dict(content["files"]) if content["format"] == _FORMAT else {}
    except (OSError, ValueError, LookupError, TypeError):
        return {}


def _save(path: Path, entries: dict[str, dict[str, Any]]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps({"format": _FORMAT, "files": entries}).encode())
    except OSError:
        pass  # such as a full or read-only disk; the cache only saves time


def _to_json(found: ImageFile) -> list[Any]:
    return [found.width, found.height, found.orientation, found.digest, found.value_range]


def _from_json(values: list[Any]) -> ImageFile:
    width, height, orientation, digest, value_range = values
    return ImageFile(
        width=width,
        height=height,
        orientation=orientation,
        digest=digest,
        value_range=None if value_range is None else tuple(value_range),
    )
