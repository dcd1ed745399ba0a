"""The reader of each format. A further format is a settings class, a file here, and a line in ``READERS``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from distune.data.formats import coco, voc
from distune.data.raw_split import RawData

Reader = Callable[[Any, Path, bool], RawData]
"""Reads all splits of a data set, given its settings, its root folder, and whether the training split needs masks."""

READERS: dict[str, Reader] = {"coco": coco.read, "voc": voc.read}
"""``data.kind`` to its reader."""
