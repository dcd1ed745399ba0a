"""Recognizes JSON exports of Label Studio."""

from __future__ import annotations

from distune.data.recognition.folder_tree import FolderTree
from distune.data.recognition.recognized import Recognized, held_out


def recognize(tree: FolderTree) -> Recognized | None:
    """Return the export with the most tasks.

    Args:
        tree: the folder.

    Returns:
        The settings; None without an export.
    """
    exports = {file: summary for file, summary in tree.json_files.items() if summary.kind == "label_studio"}
    if not exports:
        return None
    file = max(exports, key=lambda file: exports[file].num_images)
    shares, lines = held_out({})
    return Recognized(
        kind="label_studio",
        settings={"annotations": file, "images": ".", **shares},
        num_images=exports[file].num_images,
        findings=[f"{file}: {exports[file].num_images} tasks", *lines],
        doubts=[f"{other} ({exports[other].num_images} tasks) is not used" for other in exports if other != file],
        problem=""
        if tree.images
        else f"{file}: there are no images below {tree.root}; Label Studio exports them apart",
    )
