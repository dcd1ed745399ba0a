"""Finds the image files of a folder."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
"""Endings of the names of image files, in lower case."""


def is_image_name(name: str) -> bool:
    """Return whether a file name ends as that of an image."""
    return name.lower().endswith(IMAGE_SUFFIXES)


def find_images(folder: Path) -> dict[str, list[str]]:
    """Return the names of the images directly in a folder by their name without suffix."""
    files: dict[str, list[str]] = defaultdict(list)
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_image_name(entry.name):
                files[os.path.splitext(entry.name)[0]].append(entry.name)  # noqa: PTH122 - a Path per image is slow
    return dict(files)


def walk_images(folder: Path) -> list[str]:
    """Return the paths of all images below a folder, relative to it, with forward slashes, sorted."""
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [each for each in folders if not each.startswith(".")]
        relative = Path(parent).relative_to(folder).as_posix()
        found += [name if relative == "." else f"{relative}/{name}" for name in names if is_image_name(name)]
    return sorted(found)
