"""The files below a folder, listed once, and short summaries of its JSON files."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import os
import posixpath
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from distune.data.formats.image_files import is_image_name
from distune.data.formats.label_studio import is_export
from distune.data.regular_file import read_json

Role = Literal["train", "search", "test"]

_ROLES: dict[str, Role] = {
    **dict.fromkeys(("train", "training", "trainval"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "search"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_SAMPLE = 200


@dataclasses.dataclass(frozen=True, kw_only=True)
class JsonSummary:
    """The kind and size of a JSON file.

    Attributes:
        kind: ``coco``, ``label_studio``, or empty.
        num_images: images or tasks in it.
        num_boxes: boxes in it, for COCO.
        names: of the first images, for COCO.
    """

    kind: str = ""
    num_images: int = 0
    num_boxes: int = 0
    names: tuple[str, ...] = ()


class FolderTree:
    """The files below a folder, hidden ones excepted.

    Args:
        root: the folder.

    Attributes:
        root: the folder.
        folders: each folder relative to the root, with forward slashes, ``.`` for the root, to the names of its files.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folders: dict[str, list[str]] = {}
        for parent, folders, names in os.walk(root, followlinks=True):
            folders[:] = sorted(each for each in folders if not each.startswith(".") and each != "__MACOSX")
            relative = Path(parent).relative_to(root).as_posix()
            self.folders[relative] = sorted(name for name in names if not name.startswith("."))

    def files(self, *suffixes: str) -> list[str]:
        """Return the paths of all files with one of these suffixes, in lower case, relative to the root."""
        return [
            posixpath.normpath(f"{folder}/{name}")
            for folder, names in self.folders.items()
            for name in names
            if name.lower().endswith(suffixes)
        ]

    @functools.cached_property
    def images(self) -> dict[str, list[str]]:
        """The folders that have images, with the names of these."""
        found = {folder: [name for name in names if is_image_name(name)] for folder, names in self.folders.items()}
        return {folder: names for folder, names in found.items() if names}

    @property
    def num_images(self) -> int:
        """The number of images in all folders."""
        return sum(map(len, self.images.values()))

    @functools.cached_property
    def json_files(self) -> dict[str, JsonSummary]:
        """The JSON files that are of a known kind."""
        summaries = {file: _summarize(self.root / file) for file in self.files(".json")}
        return {file: summary for file, summary in summaries.items() if summary.kind}

    def folder_of(self, names: Sequence[str], *, near: str) -> str | None:
        """Return the folder in which most of some files are; None where it has none of them.

        Args:
            names: of the files, relative to that folder.
            near: a folder; of several with equally many files, the one whose path has most in common with it.

        Returns:
            The folder, relative to the root.
        """
        sample = names[:_SAMPLE]
        present = {folder: set(files) for folder, files in self.folders.items()}

        def count(folder: str) -> int:
            return sum(
                posixpath.basename(name)
                in present.get(posixpath.normpath(posixpath.join(folder, posixpath.dirname(name))), ())
                for name in sample
            )

        counts = {folder: count(folder) for folder in self.folders}
        best = max(counts, key=lambda folder: (counts[folder], _in_common(folder, near), -len(folder)), default=None)
        return best if best is not None and counts[best] else None


def role_of(path: str) -> Role | None:
    """Return the split that a path names, such as ``train`` for ``annotations/instances_train2017.json``.

    The last part that names one counts.
    """
    for part in reversed(path.split("/")):
        words = re.split(r"[^a-z]+", part.lower())
        found = [_ROLES[word] for word in words if word in _ROLES]
        if found:
            return found[-1]
    return None


def _in_common(one: str, other: str) -> int:
    """Return the number of parts in which two paths agree: a split's name counts wherever it stands."""
    same_role = role_of(one) is not None and role_of(one) == role_of(other)
    return num_common(one.split("/"), other.split("/")) + 2 * same_role


def num_common(one: Sequence[str], other: Sequence[str]) -> int:
    """Return the number of leading parts that two paths share."""
    pairs = zip(one, other, strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


def _summarize(path: Path) -> JsonSummary:
    try:
        content = read_json(path)
    except (ValueError, OSError, RecursionError):
        return JsonSummary()
    if is_export(content):
        return JsonSummary(kind="label_studio", num_images=len(content))
    if not isinstance(content, dict) or not _is_list_of_dicts(content.get("images")):
        return JsonSummary()
    annotations = content.get("annotations")
    boxes = [each for each in annotations or () if "bbox" in each] if _is_list_of_dicts(annotations) else []
    names = [each.get("file_name") for each in content["images"][:_SAMPLE]]
    return JsonSummary(
        kind="coco",
        num_images=len(content["images"]),
        num_boxes=len(boxes),
        names=tuple(name for name in names if isinstance(name, str)),
    )


def _is_list_of_dicts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)
