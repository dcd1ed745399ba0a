"""Exports of all six families against their detectors: AP, detections, latency and size, a JSON line each.

Each family is built small with seeded random weights, and trained on a few generated images until it detects their
objects. It is exported in both formats and compared on the same images, as ``distune export`` does: the question is not
how well it generalizes, but whether both give the same::

    python benchmarks/export_parity.py
    python benchmarks/export_parity.py --table    # also print the table of docs/export.md
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from distune.config.data import ShapesData
from distune.config.detector import (
    DetectorSettings,
    FasterRcnnSettings,
    FcosSettings,
    MaskRcnnSettings,
    RetinaNetSettings,
    SsdliteSettings,
    SsdSettings,
)
from distune.data.build import build_splits
from distune.data.dataset import DetectionDataset
from distune.data.transforms import to_unit_range
from distune.detectors.zoo import build_detector
from distune.export.exportable import Exportable
from distune.export.formats import FORMATS
from distune.export.parity import compare

SIDE_PX = 64
LEARNING_RATE, CLIP_NORM, BATCH = 1e-3, 10.0, 4
PYRAMID: dict[str, Any] = {"backbone": "resnet10", "fpn_channels": 64, "norm": "group", "anchor_scale": 0.5}
TWO_STAGE: dict[str, Any] = {**PYRAMID, "box_head_channels": 256, "proposals_per_image": 64}
STUDENTS: dict[str, DetectorSettings] = {
    "retinanet": RetinaNetSettings(family="retinanet", **PYRAMID),
    "fcos": FcosSettings(family="fcos", **PYRAMID),
    "ssd": SsdSettings(family="ssd", input_size_px=SIDE_PX),
    "ssdlite": SsdliteSettings(family="ssdlite", input_size_px=2 * SIDE_PX),
    "fasterrcnn": FasterRcnnSettings(family="fasterrcnn", **TWO_STAGE),
    "maskrcnn": MaskRcnnSettings(family="maskrcnn", mask_head_channels=64, **TWO_STAGE),
}


def batch_of(dataset: DetectionDataset, indices: Sequence[int]) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    images = [to_unit_range(dataset.image(index)) for index in indices]
    targets = []
    for index, image in zip(indices, images, strict=True):
        truth = dataset.annotations(index)
        boxes_N4 = torch.from_numpy(truth.boxes_N4).float()
        masks = torch.zeros(len(boxes_N4), *image.shape[1:], dtype=torch.uint8)
        for mask, (x1, y1, x2, y2) in zip(masks, boxes_N4.round().int().tolist(), strict=True):
            mask[y1:y2, x1:x2] = 1  # the box itself: masks are not what is compared
        targets.append({"boxes": boxes_N4, "labels": torch.from_numpy(truth.labels_N), "masks": masks})
    return images, targets


def train(model: Any, dataset: DetectionDataset, *, num_steps: int) -> None:
    """Train a detector for some steps, with a warm-up."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    model.train()
    for step in range(num_steps):
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * min(1.0, (step + 1) / 20, 2 * (1 - step / num_steps))
        start = step * BATCH
        losses = model(*batch_of(dataset, [(start + each) % len(dataset) for each in range(BATCH)]))
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
        optimizer.step()
    model.eval()


def lines_of(family: str, *, num_steps: int, num_images: int) -> list[dict[str, Any]]:
    """Build, train and export a family; return a line for each format."""
    data: dict[str, Any] = {
        "num_train": num_images,
        "num_search": 1,
        "num_test": 1,
        "num_classes": 2,
        "max_objects": 3,
        "image_size_px": 2 * SIDE_PX,  # images are shrunk by the detector
    }
    splits = build_splits(ShapesData(kind="shapes", **data))
    settings = STUDENTS[family]
    size: dict[str, Any] = {"min_size_px": SIDE_PX, "max_size_px": SIDE_PX}
    detector = build_detector(settings, classes=splits.classes, seed=0, **size)
    torch.manual_seed(0)
    train(detector.model, splits.train, num_steps=num_steps)
    student = Exportable(
        model=detector.model, settings=settings, classes=tuple(splits.classes), title=f"benchmark, {family}"
    )
    trained_bytes = sum(value.numel() * value.element_size() for value in detector.model.state_dict().values())
    lines = []
    for name, each in FORMATS.items():
        with tempfile.TemporaryDirectory() as folder:
            notes = each.write(student, Path(folder))
            parity = compare(detector.model, each.load(Path(folder)), splits.train, max_images=num_images)
            size_bytes = (Path(folder) / each.weights_file).stat().st_size
        lines.append(
            {
                "family": family,
                "format": name,
                **parity.to_dict(),
                "trained_bytes": trained_bytes,
                "exported_bytes": size_bytes,
                "exporter": notes.get("exporter"),
                "opset": notes.get("opset"),
                "problem": parity.problem,
            }
        )
    return lines


def row(line: dict[str, Any]) -> str:
    cells = [
        line["family"],
        line["format"],
        f"{line['ap']:.2f}",
        f"{line['exported_ap']:.2f}",
        f"{line['num_found']} of {line['num_detections']}",
        f"{line['max_box_px']:.1g} px",
        f"{line['max_score']:.1g}",
        f"{line['latency_ms']:.0f} ms",
        f"{line['exported_latency_ms']:.0f} ms",
        f"{line['exported_bytes'] / 1e6:.1f} MB",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--families", nargs="+", default=list(STUDENTS), choices=list(STUDENTS))
    parser.add_argument("--steps", type=int, default=300, help="training steps of a family")
    parser.add_argument("--images", type=int, default=24, help="images to train on and to compare on")
    parser.add_argument("--table", action="store_true", help="print the rows of the table in docs/export.md as well")
    options = parser.parse_args()
    rows = []
    for family in options.families:
        for line in lines_of(family, num_steps=options.steps, num_images=options.images):
            print(json.dumps(line), flush=True)
            rows.append(row(line))
    if options.table:
        print("\n".join(rows))


if __name__ == "__main__":
    main()
