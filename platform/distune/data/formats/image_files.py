"""Finds the image files of a folder."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

from distune.errors import DataError

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


class EntryNames:
    """The names of the entries of an annotation file, by the image file that each was found as.

    Names in annotation files may have other folders or prefixes than the image files. Then entries of different images
    can be found as one file.

    Args:
        source: the annotation file, for messages.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        self._names: dict[str, str] = {}

    def add(self, name: str, file: str) -> None:
        """Record an entry.

        Args:
            name: of the entry.
            file: that it was found as.

        Raises:
            DataError: an entry of another name was found as the same file.
        """
        other = self._names.setdefault(file, name)
        if other != name:
            raise DataError(
                f"{self._source}: the entries {other} and {name} have different names, but both were found as the file "
                f"{file}, so their boxes would be put on one image; name the files as the entries, with their folders, "
                "or remove one of the entries"
            )
