"""Finds out in which formats the data in a folder are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from distune.data.recognition import coco, cvat, label_studio, voc, yolo
from distune.data.recognition.folder_tree import FolderTree
from distune.data.recognition.recognized import Recognized
from distune.errors import DataError

RECOGNIZERS: dict[str, Callable[[FolderTree], Recognized | None]] = {
    "coco": coco.recognize,
    "voc": voc.recognize,
    "yolo": yolo.recognize,
    "cvat": cvat.recognize,
    "label_studio": label_studio.recognize,
}
"""``data.kind`` to what recognizes it. Of formats with equally many images, the first counts."""


def recognize(root: Path, *, kind: str | None = None) -> tuple[Recognized, list[Recognized]]:
    """Recognize the data in a folder.

    Args:
        root: the folder.
        kind: the format to take; None takes the one with the most images.

    Returns:
        The data that can be used, and data in other formats that are there too.

    Raises:
        DataError: there is no such folder, no known format, or what is there cannot be used.
    """
    if root.is_file():
        raise DataError(f"{root}: is a file; give the folder with the images and annotations, such as {root.parent}")
    if not root.is_dir():
        raise DataError(f"{root}: there is no such folder")
    tree = FolderTree(root)
    wanted = RECOGNIZERS if kind is None else {kind: RECOGNIZERS[kind]}
    found = [each for recognizer in wanted.values() if (each := recognizer(tree)) is not None]
    found.sort(key=lambda each: (bool(each.problem), -each.num_images))
    if not found:
        raise DataError(
            f"{root}: {_describe_unknown(tree)}\nKnown formats are {', '.join(RECOGNIZERS)}; see docs/data.md."
        )
    best, *others = found
    if best.problem:
        raise DataError(f"{root}: {best.problem}")
    return best, others


def _describe_unknown(tree: FolderTree) -> str:
    if not tree.images:
        return "has no images (.jpg, .png, .bmp, .tif, .webp)"
    kinds = [
        f"{len(files)} {suffix} files" for suffix in (".json", ".xml", ".txt", ".csv") if (files := tree.files(suffix))
    ]
    return (
        f"has {tree.num_images} images, but no annotations in a known format ({', '.join(kinds) or 'no other files'})"
    )
