"""Recognizes annotations in the XML format "CVAT for images"."""

from __future__ import annotations

from collections import Counter
from typing import Any
from xml.etree import ElementTree

from distune.data.formats.xml_files import parse_xml, root_tag
from distune.data.recognition.folder_tree import FolderTree, role_of
from distune.data.recognition.recognized import Recognized, held_out


def recognize(tree: FolderTree) -> Recognized | None:
    """Return the splits of CVAT's file: its subsets, where they are named after splits.

    Args:
        tree: the folder.

    Returns:
        The settings; None without such a file.
    """
    found = {}
    for file in tree.files(".xml"):
        if root_tag(tree.root / file) == "annotations":
            try:
                found[file] = list(parse_xml(tree.root / file).iter("image"))
            except (ElementTree.ParseError, ValueError, OSError, LookupError):
                continue
    found = {file: images for file, images in found.items() if images}
    if not found:
        return None
    file = max(found, key=lambda file: len(found[file]))
    images = found[file]
    doubts = [f"{other} ({len(found[other])} images) is not used: {file} is" for other in found if other != file]
    names = [image.get("name", "") for image in images]
    subsets = Counter(image.get("subset", "") for image in images)
    # An export of a project has a folder for each subset.
    below_subsets = [f"{image.get('subset')}/{name}" for image, name in zip(images, names, strict=True)]
    folder = tree.folder_of(below_subsets, near=file) or tree.folder_of(names, near=file)
    if folder is None:
        problem = f"{file}: its images, such as {names[0]}, are not below {tree.root}; export the task with its images"
        return Recognized(kind="cvat", settings={}, num_images=len(images), doubts=doubts, problem=problem)
    sets: dict[str, list[str]] = {}
    for subset in subsets:
        sets.setdefault(role_of(subset) or "train", []).append(subset)
    has_splits = len(sets) > 1 and "train" in sets and all(subsets)
    shares, lines = held_out(sets if has_splits else {})
    settings: dict[str, Any] = {"annotations": file, "images": folder}
    if has_splits:
        settings |= {f"{role}_set": "+".join(sets[role]) for role in ("train", "search", "test") if role in sets}
    return Recognized(
        kind="cvat",
        settings={**settings, **shares},
        num_images=len(images),
        findings=[
            f"{file}: {len(images)} images in {folder}",
            *(f"{role}: subset {'+'.join(each)}" for role, each in sets.items() if has_splits),
            *lines,
        ],
        doubts=doubts,
    )
