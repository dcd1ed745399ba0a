"""The reader of each format. A further format is a settings class, a file here, and a line in ``READERS``.

So that ``distune init`` recognizes it, it has a file in ``distune.data.recognition`` as well.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from distune.data.formats import coco, cvat, label_studio, voc, yolo
from distune.data.raw_split import RawData

Reader = Callable[[Any, Path, bool], RawData]
"""Reads all splits of a data set, given its settings, its root folder, and whether the training split needs masks."""

READERS: dict[str, Reader] = {
    "coco": coco.read,
    "cvat": cvat.read,
    "label_studio": label_studio.read,
    "voc": voc.read,
    "yolo": yolo.read,
}
"""``data.kind`` to its reader."""
