"""Finds the images that a detector is to run on, and reads their headers."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from distune.data.dataset import ImageError
from distune.data.formats.image_files import walk_images
from distune.data.images import ImageFile, ValueRange, inspect_image
from distune.data.regular_file import is_file, is_folder
from distune.errors import UsageError


def find_input_images(given: Iterable[Path]) -> list[Path]:
    """Return the files that are named, and all images in the folders that are named, subfolders included.

    Args:
        given: files and folders.

    Returns:
        Each file once, in the order of ``given``, those of a folder sorted. A file that is named need not have the
        ending of an image.

    Raises:
        UsageError: a path does not exist, a folder has no image, or nothing is given.
    """
    files: dict[Path, None] = {}
    for path in given:
        if is_folder(path):
            found = [path / name for name in walk_images(path)]
            if not found:
                raise UsageError(f"{path}: there is no image in this folder")
            files |= dict.fromkeys(found)
        elif is_file(path):
            files[path] = None
        else:
            raise UsageError(f"{path}: there is no such file or folder")
    if not files:
        raise UsageError("no images are given: name files or folders")
    return list(files)


def inspect_input_images(paths: Iterable[Path]) -> tuple[dict[Path, ImageFile], dict[Path, str]]:
    """Read the headers of image files.

    Args:
        paths: of the files.

    Returns:
        The headers of the files that can be read, and the problem of each other one.
    """
    headers: dict[Path, ImageFile] = {}
    problems: dict[Path, str] = {}
    for path in paths:
        try:
            headers[path] = inspect_image(path, file=str(path))
        except ImageError as error:
            problems[path] = error.problem
    return headers, problems


def common_value_range(headers: Iterable[ImageFile]) -> ValueRange | None:
    """Return the range of all images of more than 8 bits; None without any."""
    ranges = [header.value_range for header in headers if header.value_range is not None]
    if not ranges:
        return None
    return min(low for low, _ in ranges), max(high for _, high in ranges)
