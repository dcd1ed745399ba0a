"""Average precision equals that of pycocotools on the original file: crowd, boxes across the border, stated areas."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from distune.data.build import build_splits
from distune.training.evaluation.predict_and_score import score
from support.datasets import coco_settings, write_image

NAMES = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large")
CATEGORIES = [{"id": number, "name": f"class {number}"} for number in (3, 7, 90)]


def make(
    root: Path, *, border: float = 0.0, crowd: float = 0.0, zero_area: float = 0.0
) -> dict[int, list[list[float]]]:
    """Write a data set, and return detections of the split ``val``: x1, y1, x2, y2, category, score by image id."""
    random = np.random.default_rng(0)
    detections: dict[int, list[list[float]]] = {}
    for split, count in {"train": 1, "val": 24}.items():
        content: dict[str, Any] = {"images": [], "annotations": [], "categories": CATEGORIES}
        for number in range(count):
            width, height = (int(side) for side in random.integers(60, 300, 2))
            name, image_id = f"{split}{number}.png", 1000 + 7 * number
            write_image(root / split / name, random.integers(0, 256, (height, width, 3)).astype(np.uint8))
            content["images"].append({"id": image_id, "file_name": name, "width": width, "height": height})
            rows = detections.setdefault(image_id, []) if split == "val" else []
            for _ in range(4):
                sides = random.uniform(6, 0.7 * np.array([width, height]))
                corner = random.uniform(0, np.array([width, height]) - sides)
                if random.random() < border:
                    corner[0] -= sides[0] * random.uniform(0.05, 0.4)
                category = int(random.choice([3, 7, 90]))
                area = 0.0 if random.random() < zero_area else float(sides.prod() * random.uniform(0.3, 1))
                record: dict[str, Any] = {
                    "id": len(content["annotations"]) + 1,
                    "image_id": image_id,
                    "category_id": category,
                }
                record |= {"bbox": [*corner.tolist(), *sides.tolist()], "area": area}
                content["annotations"].append({**record, "iscrowd": int(random.random() < crowd)})
                for _ in range(int(random.integers(0, 3))):
                    near = np.concatenate([corner, corner + sides]) + random.uniform(-0.1, 0.1, 4) * sides.min()
                    x1, y1, x2, y2 = np.clip(near, 0, [width, height] * 2).tolist()
                    rows.append([x1, y1, x2, y2, category if random.random() < 0.85 else 7, float(random.random())])
        (root / f"{split}.json").write_text(json.dumps(content))
    return detections


@pytest.mark.parametrize("options", [{}, {"border": 1.0}, {"crowd": 0.3}, {"zero_area": 0.3, "crowd": 0.1}])
def test_every_figure_is_that_of_pycocotools(tmp_path: Path, options: dict[str, float]) -> None:
    detections = make(tmp_path, **options)
    dataset = build_splits(coco_settings(tmp_path)).search
    labels = {record["id"]: label for label, record in enumerate(CATEGORIES, start=1)}
    predictions = []
    for index in range(len(dataset)):
        rows = detections[dataset.annotations(index).image_id]
        predictions.append(
            {
                "boxes": torch.tensor([row[:4] for row in rows]).reshape(-1, 4),
                "scores": torch.tensor([row[5] for row in rows]),
                "labels": torch.tensor([labels[int(row[4])] for row in rows], dtype=torch.int64),
                "image_index": torch.tensor(index),
            }
        )
    ours = score(predictions, dataset)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(tmp_path / "val.json"))
        found = truth.loadRes(
            [
                {"image_id": image_id, "category_id": row[4], "score": row[5]}
                | {"bbox": [row[0], row[1], row[2] - row[0], row[3] - row[1]]}
                for image_id, rows in detections.items()
                for row in rows
            ]
        )
        evaluation = COCOeval(truth, found, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    theirs = dict(zip(NAMES, 100 * evaluation.stats[:6], strict=True))
    assert 5 < theirs["AP"] < 95
    for name, value in theirs.items():
        assert ours.get(name, -100.0) == pytest.approx(value, abs=1e-3), name
