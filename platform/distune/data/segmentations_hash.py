"""The hash of the segmentations of the training images, which the fingerprint of the data does not cover."""

from __future__ import annotations

import hashlib
from pathlib import Path

from distune.config.data import FileDataSettings, GeneratedData
from distune.data.formats.readers import READERS


def segmentations_hash(settings: GeneratedData | FileDataSettings) -> str | None:
    """Hash the segmentations of the training images and of those that are held out of them.

    Reads the annotation files again, and no image.

    Args:
        settings: of data that can be read.

    Returns:
        16 hexadecimal digits; None for generated images, whose masks follow from what the fingerprint covers.

    Raises:
        DataError: the files cannot be read.
    """
    if isinstance(settings, GeneratedData):
        return None
    assert settings.root is not None, "the data has been read"
    split = READERS[settings.kind](settings, Path(settings.root).expanduser(), True).splits["train"]
    digest = hashlib.sha256()
    for box in split.boxes:
        if settings.classes is not None and box.class_name not in settings.classes:
            continue
        outline = b"" if box.segmentation is None else box.segmentation
        content = outline if isinstance(outline, bytes) else outline.tobytes()
        kind = type(box.segmentation).__name__
        digest.update(f"{split.images[box.row].file} {box.class_name} {kind} {len(content)} ".encode() + content)
    return digest.hexdigest()[:16]
