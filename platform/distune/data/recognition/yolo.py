"""Recognizes images with text files of labels in the format of YOLO, with or without a data.yaml."""

from __future__ import annotations

import math
import posixpath
from pathlib import Path
from typing import Any

from distune.config.yaml import parse_plain
from distune.data.formats.polygons import read_number
from distune.data.formats.text_files import read_text
from distune.data.formats.yolo import label_file
from distune.data.recognition.folder_tree import FolderTree, role_of
from distune.data.recognition.recognized import Recognized, held_out

_KEYS = {"train": "train", "search": "val", "test": "test"}
_NAME_FILES = ("classes.txt", "obj.names", "names.txt", "predefined_classes.txt", "labels.txt")


def recognize(tree: FolderTree) -> Recognized | None:
    """Return the splits of a data.yaml, or of folders of images with labels.

    Args:
        tree: the folder.

    Returns:
        The settings; None without labels in this format.
    """
    labeled = _labeled_folders(tree)
    if not labeled:
        return None
    descriptions = [file for file in tree.files(".yaml", ".yml") if _has_names(tree.root / file)]
    doubts = [f"{file} is not used: {descriptions[0]} is" for file in descriptions[1:]]
    if descriptions:
        found = _described(tree, descriptions[0], doubts)
        if found is not None:
            return found
    names = descriptions[0] if descriptions else _name_file(tree)
    sets: dict[str, list[str]] = {}
    for folder in labeled:
        sets.setdefault(role_of(folder) or "train", []).append(folder)
    if "train" not in sets:
        largest = max(sets, key=lambda role: sum(len(tree.images[folder]) for folder in sets[role]))
        sets["train"] = sets.pop(largest)
        doubts.append(f"no folder names training images; {'+'.join(sets['train'])} is taken for them")
    problem = (
        ""
        if names
        else (
            f"{tree.root} has labels in YOLO's format, but no names of the classes: put a file classes.txt "
            "with a name on each line into the folder, in the order of the ids"
        )
    )
    return _recognized(tree, names or "", {role: "+".join(folders) for role, folders in sets.items()}, doubts, problem)


def _recognized(tree: FolderTree, names: str, sets: dict[str, str], doubts: list[str], problem: str = "") -> Recognized:
    shares, lines = held_out(sets)
    settings: dict[str, Any] = {role: sets[role] for role in ("train", "search", "test") if role in sets}
    return Recognized(
        kind="yolo",
        settings={"names": names, **settings, **shares},
        num_images=sum(_num_images(tree, places) for places in sets.values()),
        findings=[f"names of the classes: {names}", *(f"{role}: {places}" for role, places in sets.items()), *lines],
        doubts=doubts,
        problem=problem,
    )


def _num_images(tree: FolderTree, places: str) -> int:
    total = 0
    for place in places.split("+"):
        if place.endswith(".txt"):
            total += len(read_text(tree.root / place).split("\n"))
        total += sum(
            len(names)
            for folder, names in tree.images.items()
            if place in (".", folder) or folder.startswith(f"{place}/")
        )
    return total


def _described(tree: FolderTree, description: str, doubts: list[str]) -> Recognized | None:
    """Return the splits of a data.yaml; None where it has no training images."""
    content = parse_plain(read_text(tree.root / description))
    base = posixpath.dirname(description)
    path = content.get("path")
    sets: dict[str, str] = {}
    for role, key in _KEYS.items():
        given = content.get(key)
        entries = [each for each in (given if isinstance(given, list) else [given]) if isinstance(each, str) and each]
        places = [_resolve(tree, base, path if isinstance(path, str) else "", entry) for entry in entries]
        doubts += [
            f"{description}: {key}: {entry} is not below {tree.root}"
            for entry, place in zip(entries, places, strict=True)
            if place is None
        ]
        known = [place for place in places if place is not None]
        if known:
            sets[role] = "+".join(known)
    return _recognized(tree, description, sets, doubts) if "train" in sets else None


def _resolve(tree: FolderTree, base: str, path: str, entry: str) -> str | None:
    """Return a place of a data.yaml relative to the root; None where it does not exist.

    Some services write ``../train/images`` for a folder beside the file.
    """
    plain = entry.removeprefix("../").removeprefix("./")
    for folder in (posixpath.join(base, path), base, path, ""):
        for name in dict.fromkeys((entry, plain)):
            found = Path(posixpath.normpath(tree.root / folder / name))
            if found.exists() and found.is_relative_to(tree.root):
                return found.relative_to(tree.root).as_posix()
    return None


def _has_names(path: Path) -> bool:
    try:
        content = parse_plain(read_text(path))
    except (ValueError, OSError):
        return False
    return isinstance(content, dict) and isinstance(content.get("names"), (list, dict))


def _name_file(tree: FolderTree) -> str | None:
    files = tree.files(".txt", ".names")
    for name in _NAME_FILES:
        found = [file for file in files if posixpath.basename(file) == name]
        if found:
            return min(found, key=len)
    return next((file for file in files if file.endswith(".names")), None)


def _labeled_folders(tree: FolderTree) -> list[str]:
    """Return the folders of images of which some have labels."""
    texts = set(tree.files(".txt"))
    found = []
    for folder, names in tree.images.items():
        images = [posixpath.normpath(f"{folder}/{name}") for name in names]
        labels = [
            label
            for image in images
            for label in dict.fromkeys((label_file(image), posixpath.splitext(image)[0] + ".txt"))
            if label in texts
        ]
        if any(map(_is_label_file, (tree.root / label for label in labels[:20]))):
            found.append(folder)
    return found


def _is_label_file(path: Path) -> bool:
    """Return whether the first line is a class id with the numbers of a box or a polygon."""
    try:
        line = next((line for line in read_text(path).splitlines() if line.strip()), "")
    except OSError:
        return False
    numbers = list(map(read_number, line.split()))
    return len(numbers) >= 5 and all(map(math.isfinite, numbers)) and numbers[0] == int(numbers[0]) >= 0
