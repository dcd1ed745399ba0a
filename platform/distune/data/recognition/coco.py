"""Recognizes JSON files in COCO's format anywhere below a folder."""

from __future__ import annotations

import posixpath
from typing import Any

from distune.data.recognition.folder_tree import FolderTree, JsonSummary, Role, role_of
from distune.data.recognition.recognized import Recognized, held_out


def recognize(tree: FolderTree) -> Recognized | None:
    """Return the splits in COCO's format, also one file for each split as annotation services export it.

    Args:
        tree: the folder.

    Returns:
        The settings; None without such files.
    """
    files = {file: summary for file, summary in tree.json_files.items() if summary.kind == "coco"}
    usable = {file: summary for file, summary in files.items() if summary.num_boxes}
    doubts = [f"{file} has images but no boxes; it is not used" for file in files if file not in usable]
    if not usable:
        return None
    chosen: dict[Role, str] = {}
    folders: dict[str, str] = {}
    for file in sorted(usable, key=lambda file: _rank(file, usable[file])):
        folder = tree.folder_of(usable[file].names, near=file)
        if folder is None:
            doubts.append(f"{file}: its images, such as {usable[file].names[:1]}, are not below {tree.root}")
            continue
        role = role_of(file) or role_of(folder)
        if role is None:
            role = "train" if "train" not in chosen else None
        if role is None or role in chosen:
            doubts.append(f"{file} ({usable[file].num_boxes} boxes) is not used: {chosen.get(role or 'train')} is")
            continue
        chosen[role], folders[file] = file, folder
    if chosen and "train" not in chosen:
        largest = max(chosen, key=lambda role: usable[chosen[role]].num_images)
        doubts.append(f"no file names training images; {chosen[largest]} is taken for them")
        chosen["train"] = chosen.pop(largest)
    if not chosen:
        return Recognized(kind="coco", settings={}, num_images=0, doubts=doubts, problem="; ".join(doubts))
    shares, lines = held_out(chosen)
    settings: dict[str, Any] = {
        role: {"images": folders[chosen[role]], "annotations": chosen[role]}
        for role in ("train", "search", "test")
        if role in chosen
    }
    findings = [
        f"{role}: {file}, {usable[file].num_images} images in {posixpath.join(folders[file], '')}"
        for role, file in chosen.items()
    ]
    return Recognized(
        kind="coco",
        settings={**settings, **shares},
        num_images=sum(usable[file].num_images for file in chosen.values()),
        findings=[*findings, *lines],
        doubts=doubts,
    )


def _rank(file: str, summary: JsonSummary) -> tuple[bool, bool, int]:
    """Return the order in which files are tried: those named after a split, then COCO's instances, then by boxes."""
    return role_of(file) is None, "instances" not in posixpath.basename(file), -summary.num_boxes
