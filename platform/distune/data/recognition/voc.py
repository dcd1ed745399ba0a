"""Recognizes images with an XML file each: Pascal VOC with lists, and folders without lists as LabelImg writes them."""

from __future__ import annotations

import posixpath
from typing import Any

from distune.data.formats.xml_files import root_tag
from distune.data.recognition.folder_tree import FolderTree, Role, num_common, role_of
from distune.data.recognition.recognized import Recognized, held_out

_LISTS: dict[Role, tuple[str, ...]] = {"train": ("train",), "search": ("val", "valid"), "test": ("test",)}
_OF_ALL = ("trainval", "all", "default")
_SAMPLE = 200


def recognize(tree: FolderTree) -> Recognized | None:
    """Return the splits of VOC's lists, or of folders without lists.

    Args:
        tree: the folder.

    Returns:
        The settings; None without such XML files.
    """
    folders = [
        folder
        for folder, names in tree.folders.items()
        if (xml := [name for name in names if name.lower().endswith(".xml")])
        and any(root_tag(tree.root / folder / name) == "annotation" for name in xml[:3])
    ]
    if not folders:
        return None
    listed = _with_lists(tree, folders)
    return listed if listed is not None else _without_lists(tree, folders)


def _with_lists(tree: FolderTree, folders: list[str]) -> Recognized | None:
    """Return the splits of all folders that have lists in ``ImageSets/Main``."""
    sets: dict[Role, list[str]] = {}
    doubts: list[str] = []
    num_images = 0
    for folder in folders:
        base = posixpath.dirname(folder) or "."
        lists = {
            posixpath.splitext(name)[0]: name
            for name in tree.folders.get(posixpath.normpath(f"{base}/ImageSets/Main"), [])
            if name.endswith(".txt")
        }
        found = {role: name for role, names in _LISTS.items() for name in names[:1] if name in lists}
        found |= {
            role: next(name for name in names if name in lists)
            for role, names in _LISTS.items()
            if role not in found and any(name in lists for name in names)
        }
        if "train" not in found and lists:
            others = [name for name in (*_OF_ALL, *sorted(lists)) if name in lists and name not in found.values()]
            if not others:
                continue
            found["train"] = others[0]
            doubts += [f"{base}/ImageSets/Main has no list train.txt; {others[0]}.txt is taken for training images"]
        for role, name in found.items():
            sets.setdefault(role, []).append(posixpath.normpath(f"{base}/{name}"))
        num_images += _num_xml(tree, folder) if found else 0
    if "train" not in sets:
        return None
    shares, lines = held_out(sets)
    settings: dict[str, Any] = {
        f"{role}_set": "+".join(sets[role]) for role in ("train", "search", "test") if role in sets
    }
    return Recognized(
        kind="voc",
        settings={**settings, **shares},
        num_images=num_images,
        findings=[*(f"{role}: list {'+'.join(names)}" for role, names in sets.items()), *lines],
        doubts=doubts,
    )


def _without_lists(tree: FolderTree, folders: list[str]) -> Recognized | None:
    """Return the splits that the names of folders tell, or all images as training images."""
    doubts: list[str] = []
    layouts: dict[tuple[str, str], dict[str, str]] = {}
    for folder in folders:
        images = _image_folder(tree, folder)
        if images is None:
            doubts.append(f"{folder}: no image has the name of one of its XML files")
            continue
        prefix, names = _layout(folder, images)
        layouts.setdefault(names, {})[prefix] = folder
    if not layouts:
        return Recognized(kind="voc", settings={}, num_images=0, doubts=doubts, problem="; ".join(doubts))
    (images, annotations), places = max(layouts.items(), key=lambda item: len(item[1]))
    doubts += [
        f"{folder} is not used: it is laid out otherwise"
        for other in layouts.values()
        if other is not places
        for folder in other.values()
    ]
    sets: dict[str, list[str]] = {}
    for prefix in places:
        sets.setdefault(role_of(prefix) or "train", []).append(posixpath.normpath(f"{prefix}/*"))
    if "train" not in sets:
        largest = max(sets, key=lambda role: len(sets[role]))
        sets["train"] = sets.pop(largest)
        doubts.append(f"no folder names training images; {'+'.join(sets['train'])} is taken for them")
    shares, lines = held_out(sets)
    settings: dict[str, Any] = {
        f"{role}_set": "+".join(sets[role]) for role in ("train", "search", "test") if role in sets
    }
    return Recognized(
        kind="voc",
        settings={**settings, "images": images, "annotations": annotations, **shares},
        num_images=sum(_num_xml(tree, folder) for folder in places.values()),
        findings=[
            f"images in {images}, XML files in {annotations}",
            *(f"{role}: {'+'.join(names)}" for role, names in sets.items()),
            *lines,
        ],
        doubts=doubts,
    )


def _num_xml(tree: FolderTree, folder: str) -> int:
    return sum(name.lower().endswith(".xml") for name in tree.folders[folder])


def _image_folder(tree: FolderTree, folder: str) -> str | None:
    """Return the folder whose images have the names of most XML files; the folder itself, or a near one, if equal."""
    stems = {posixpath.splitext(name)[0] for name in tree.folders[folder] if name.lower().endswith(".xml")}
    sample = set(sorted(stems)[:_SAMPLE])

    def score(images: str) -> tuple[int, bool, bool, int]:
        names = {posixpath.splitext(name)[0] for name in tree.images[images]}
        same_role = role_of(images) is not None and role_of(images) == role_of(folder)
        shared = num_common(images.split("/"), folder.split("/"))
        return len(names & sample), images == folder, same_role, shared

    best = max(tree.images, key=score, default=None)
    return best if best is not None and score(best)[0] else None


def _layout(annotations: str, images: str) -> tuple[str, tuple[str, str]]:
    """Return the part that two folders share, before or after their own names, and the own names."""
    if annotations == images:
        return annotations, (".", ".")
    own, other = annotations.split("/"), images.split("/")
    num_before = num_common(own, other)
    num_after = num_common(own[num_before:][::-1], other[num_before:][::-1])
    before = own[:num_before]
    middle = ["/".join(parts[num_before : len(parts) - num_after]) or "." for parts in (other, own)]
    after = own[len(own) - num_after :] if num_after else []
    if after and before:  # only one of both can stand before the list
        return "/".join(after), ("/".join([*before, middle[0]]), "/".join([*before, middle[1]]))
    return "/".join(before or after) or ".", (middle[0], middle[1])
