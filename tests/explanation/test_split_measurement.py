"""Measurements of a search split: which of its images count."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from distune.api import split_measurement
from distune.data.splits import Splits
from distune.evidence.detections import Detections
from support.datasets import MemoryDataset, annotate

BOX = (0.0, 0.0, 8.0, 8.0)
NOTHING_FOUND = Detections(
    images_D=np.zeros(0, np.int64),
    boxes_D4=np.zeros((0, 4), np.float32),
    labels_D=np.zeros(0, np.int64),
    scores_D=np.zeros(0, np.float32),
)


def test_images_without_a_box_that_counts_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    images = [
        annotate([BOX, BOX], [1, 1], index=0),
        annotate([], [], index=1),
        annotate([BOX], [1], difficult=[True], index=2),
        annotate([BOX], [1], crowd=[True], index=3),
        annotate([BOX, BOX], [2, 1], difficult=[True, False], index=4),
    ]
    data = MemoryDataset(images)
    splits = Splits(train=data, search=data, test=None, classes=data.classes, fingerprint="0" * 16, faults=())
    monkeypatch.setattr(split_measurement, "detect", lambda *_, **__: NOTHING_FOUND)
    models: dict[str, Any] = {"student": None, "control": None}
    folder: Any = None
    found = split_measurement.measure_split(folder, models, splits, on_message=lambda _: None)
    assert found.evidence.num_images == 2
    assert found.evidence.boxes == {"cat": 3, "dog": 0}
