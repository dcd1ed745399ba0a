"""Decides for each image of a split its size, its orientation and whether it can be used.

Annotations are in the frame of the image as viewers and annotation tools show it: after the turn that its EXIF
orientation asks for. Where they state the size before the turn, they are in the frame of the stored pixels, and the
image is not turned. A turn that keeps the size follows the other images of the split.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from distune.config.image_size import resized_size
from distune.data.check import is_too_many, listing
from distune.data.dataset import ImageError
from distune.data.image_scan import Scan
from distune.data.images import ImageFile
from distune.data.raw_split import RawBox, RawImage, RawSplit
from distune.errors import DataError


def resolve_images(
    root: Path, name: str, split: RawSplit, scan: Scan, *, min_size_px: int, max_size_px: int
) -> RawSplit:
    """Return a split whose images have sizes, orientations and digests. Images that cannot be used are left out.

    Several entries of one file become one image with the boxes of all.

    Args:
        root: folder of the data set, for messages.
        name: of the split.
        split: as it was read.
        scan: of its files.
        min_size_px: the shorter side after resizing.
        max_size_px: the longer side is at most this; an image whose shorter side would become 0 is bad.

    Returns:
        Another split; boxes of images that are left out are left out as well.

    Raises:
        DataError: more than 1% of the images have another size than their annotations state.
    """
    sizes_differ: list[str] = []
    follows_exif = _follows_exif(split.images, scan)
    faults: list[str] = []
    images: list[RawImage] = []
    new_rows: dict[int, int] = {}
    rows_of_files: dict[Path, int] = {}
    real_folders: dict[Path, Path] = {}
    joined: list[str] = []
    mismatches: list[tuple[tuple[int, int], tuple[int, int]]] = []
    for row, image in enumerate(split.images):
        found = scan[image.file]
        if isinstance(found, ImageError):
            faults.append(str(found))
            continue
        resolved = _resolve(image, found, follows_exif=follows_exif)
        if resolved is None:
            stated, actual = (image.width, image.height), found.shown_size
            mismatches.append((stated, actual))
            line = f"{image.file}: has {_text(actual)} pixels, but its annotations are for {_text(stated)}"
            sizes_differ.append(line)
            faults.append(line)
            continue
        small = _small_size(resolved.width, resolved.height, min_size_px, max_size_px)
        if small is not None:
            faults.append(
                f"{image.file}: is too thin: {_text((resolved.width, resolved.height))} pixels become {_text(small)}"
            )
            continue
        folder = image.path.parent
        if folder not in real_folders:
            real_folders[folder] = folder.resolve()
        first = rows_of_files.setdefault(real_folders[folder] / image.path.name, len(images))
        if first < len(images):
            joined.append(f"image ids {images[first].image_id} and {image.image_id} ({image.file})")
        else:
            images.append(resolved)
        new_rows[row] = first
    num_stated = sum(image.width > 0 and image.height > 0 for image in split.images)
    if is_too_many(len(mismatches), num_stated):
        raise DataError(
            f"{root}, split {name}: {len(mismatches)} of {num_stated} images have another size than their annotations "
            f"state, so the boxes may not lie on the objects\n{listing(sizes_differ)}\n{_advice(mismatches)}"
        )
    notes = [*split.notes, *_exif_notes(name, images)]
    if joined:
        notes.append(f"split {name}: {len(joined)} images have several entries, which were joined: {_some(joined)}")
    return dataclasses.replace(
        split,
        images=images,
        boxes=_boxes(split.boxes, new_rows),
        bad_images=split.bad_images + len(faults),
        faults=[*split.faults, *faults],
        notes=notes,
    )


def _resolve(image: RawImage, found: ImageFile, *, follows_exif: bool) -> RawImage | None:
    """Return the image with its size and orientation; None where the stated size is neither of both."""
    stated = (image.width, image.height)
    is_turned = follows_exif
    if min(stated) > 0:
        if stated not in (found.shown_size, found.stored_size):
            return None
        if found.shown_size != found.stored_size:
            is_turned = stated == found.shown_size
    width, height = found.shown_size if is_turned else found.stored_size
    is_turned = is_turned and found.orientation != 1
    return dataclasses.replace(image, width=width, height=height, is_turned=is_turned, digest=found.digest)


def _follows_exif(images: Sequence[RawImage], scan: Scan) -> bool:
    """Return whether most stated sizes that can tell are those of turned images; True where none can."""
    votes: Counter[bool] = Counter()
    for image in images:
        found = scan[image.file]
        if isinstance(found, ImageFile) and found.shown_size != found.stored_size:
            stated = (image.width, image.height)
            votes[True] += stated == found.shown_size
            votes[False] += stated == found.stored_size
    return votes[True] >= votes[False]


def _exif_notes(name: str, images: Sequence[RawImage]) -> list[str]:
    turned = [image.file for image in images if image.is_turned]
    return [f"split {name}: {len(turned)} images are turned as their EXIF orientation says: {_some(turned)}"] * bool(
        turned
    )


def _boxes(boxes: Sequence[RawBox], new_rows: dict[int, int]) -> list[RawBox]:
    """Return the boxes with the rows of their images; of equal boxes of several entries of a file, the first."""
    kept: list[RawBox] = []
    entry_of: dict[tuple[object, ...], int] = {}
    for box in boxes:
        if box.row not in new_rows:
            continue
        row = new_rows[box.row]
        first_entry = entry_of.setdefault((row, box.class_name, box.given, box.crowd, box.difficult), box.row)
        if first_entry == box.row:
            kept.append(dataclasses.replace(box, row=row))
    return kept


def _small_size(width: int, height: int, min_size_px: int, max_size_px: int) -> tuple[int, int] | None:
    """Return the size after resizing where a side becomes 0, else None."""
    height_after, width_after = resized_size(height, width, min_size_px=min_size_px, max_size_px=max_size_px)
    small = (width_after, height_after)
    return small if min(small) < 1 else None


def _advice(mismatches: Sequence[tuple[tuple[int, int], tuple[int, int]]]) -> str:
    if all(stated == actual[::-1] for stated, actual in mismatches):
        return (
            "Width and height are exchanged: the images were turned after annotation, or the turn is not in their EXIF "
            "data. Turn the images or the boxes."
        )
    if all(_is_scaled(stated, actual) for stated, actual in mismatches):
        factors = [actual[0] / stated[0] for stated, actual in mismatches]
        lowest, highest = min(factors), max(factors)
        by = f"{lowest:.3g}" if highest < 1.01 * lowest else f"{lowest:.3g} to {highest:.3g}"
        return (
            f"The images were scaled by {by} after annotation: scale the boxes and the stated sizes alike, or use the "
            "original images."
        )
    return "Use the images that were annotated, or annotations of these images."


def _is_scaled(stated: tuple[int, int], actual: tuple[int, int]) -> bool:
    """Return whether both sizes have the same ratio, up to a pixel of rounding."""
    across, down = actual[0] / stated[0], actual[1] / stated[1]
    return abs(actual[1] - stated[1] * across) <= 1 or abs(actual[0] - stated[0] * down) <= 1


def _text(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
