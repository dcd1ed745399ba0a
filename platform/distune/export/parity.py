"""Runs a detector and its exported file on the same images, and compares their detections, scores and latencies."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from distune.data.dataset import DetectionDataset, ImageError
from distune.data.transforms import to_unit_range
from distune.errors import DataError, ExportError
from distune.export.formats import Runtime
from distune.training.evaluation.predict_and_score import Prediction, score

MAX_AP_DIFFERENCE = 0.1
"""In points of AP; above it an export fails."""
MIN_SHARE_FOUND = 0.98
"""Fraction of detections that the file must give as well; below it an export fails."""
MIN_SCORE = 0.05
"""Detections below it are not compared one by one: they are the first to change with rounding."""
_SAME_PX, _SAME_SCORE = 0.5, 0.005
_WARM_UPS = 2

OnImage = Callable[[int, int], None]
"""Receives the number of images that are done, and of all."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parity:
    """A comparison of a detector with its exported file.

    Attributes:
        num_images: that both were run on.
        ap: of the detector, in points; None where no image has a box that counts.
        exported_ap: of the file.
        num_detections: of the detector with a score of at least ``MIN_SCORE``.
        num_found: those that the file gives as well: of the same class, within half a pixel and 0.005 of the score.
        num_extra: detections of the file, with at least that score, that the detector does not give.
        max_box_px: largest difference of a coordinate among those found, in pixels of the image.
        max_score: largest difference of a score among those found.
        latency_ms: median milliseconds of the detector for an image.
        exported_latency_ms: of the file.
        num_threads: of both.
    """

    num_images: int
    ap: float | None
    exported_ap: float | None
    num_detections: int
    num_found: int
    num_extra: int
    max_box_px: float
    max_score: float
    latency_ms: float
    exported_latency_ms: float
    num_threads: int

    @property
    def ap_difference(self) -> float | None:
        """AP of the file minus AP of the detector, in points."""
        return None if self.ap is None or self.exported_ap is None else self.exported_ap - self.ap

    @property
    def problem(self) -> str | None:
        """The reason why the file is not the same detector; None if it is."""
        difference = self.ap_difference
        if difference is not None and abs(difference) > MAX_AP_DIFFERENCE:
            return (
                f"its AP is {self.exported_ap:.2f} and that of the detector is {self.ap:.2f}; {MAX_AP_DIFFERENCE} "
                "points are allowed"
            )
        if self.num_found < MIN_SHARE_FOUND * self.num_detections:
            return f"it gives {self.num_found} of {self.num_detections} detections; {MIN_SHARE_FOUND:.0%} are needed"
        if self.num_extra > (1 - MIN_SHARE_FOUND) * self.num_detections:
            return f"it gives {self.num_extra} detections more than the detector's {self.num_detections}"
        return None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {**dataclasses.asdict(self), "ap_difference": self.ap_difference}


def compare(
    model: nn.Module,
    runtime: Runtime,
    dataset: DetectionDataset,
    *,
    max_images: int,
    labels_K: Tensor | None = None,
    on_image: OnImage | None = None,
) -> Parity:
    """Run a detector and its exported file on the first images of a split, one by one and in turns.

    Args:
        model: the detector, in evaluation mode on the CPU.
        runtime: the exported file.
        dataset: the split, with boxes of the classes that the detector knows.
        max_images: images at most.
        labels_K: label of the detector to that of the split, as ``predict`` takes it; None where they are the same.
        on_image: receives the progress.

    Returns:
        The comparison.

    Raises:
        DataError: none of the images can be decoded.
        ExportError: the file cannot be run.
    """
    total = min(max_images, len(dataset))
    ours: list[Prediction] = []
    theirs: list[Prediction] = []
    times: list[tuple[float, float]] = []
    with torch.inference_mode():
        for index in range(total):
            try:
                image = to_unit_range(dataset.image(index))
            except ImageError:
                continue
            if not times:
                for _ in range(_WARM_UPS):
                    model([image])
                    runtime(image)
            start = time.perf_counter()
            mine = model([image])[0]
            middle = time.perf_counter()
            other = runtime(image)
            times.append((middle - start, time.perf_counter() - middle))
            ours.append(_prediction(mine, index, labels_K))
            theirs.append(_prediction(other, index, labels_K))
            if on_image is not None:
                on_image(index + 1, total)
    if not times:
        raise DataError(f"split {dataset.name}: none of its first {total} images can be decoded")
    pairs = [_match(one, two) for one, two in zip(ours, theirs, strict=True)]
    has_boxes = any(not dataset.annotations(index).ignored_N.all() for index in _indices(ours))
    return Parity(
        num_images=len(times),
        ap=score(ours, dataset).get("AP") if has_boxes else None,
        exported_ap=score(theirs, dataset).get("AP") if has_boxes else None,
        num_detections=sum(pair[0] for pair in pairs),
        num_found=sum(pair[1] for pair in pairs),
        num_extra=sum(
            found[0] - found[1] for found in (_match(two, one) for one, two in zip(ours, theirs, strict=True))
        ),
        max_box_px=max(pair[2] for pair in pairs),
        max_score=max(pair[3] for pair in pairs),
        latency_ms=1000 * statistics.median(each[0] for each in times),
        exported_latency_ms=1000 * statistics.median(each[1] for each in times),
        num_threads=torch.get_num_threads(),
    )


def check(parity: Parity, *, file: str) -> None:
    """Raise ``ExportError`` when an exported file is not the same detector."""
    if parity.problem is not None:
        raise ExportError(
            f"{file} differs from the detector on {parity.num_images} images: {parity.problem}; nothing was exported"
        )


def _prediction(found: dict[str, Tensor], index: int, labels_K: Tensor | None) -> Prediction:
    boxes_n4, scores_n, labels_n = (found[name].clone() for name in ("boxes", "scores", "labels"))
    kept_n = boxes_n4.isfinite().all(dim=1) & scores_n.isfinite()
    if labels_K is not None:
        labels_n = labels_K[labels_n]
        kept_n &= labels_n > 0
    return {
        "boxes": boxes_n4[kept_n],
        "scores": scores_n[kept_n],
        "labels": labels_n[kept_n],
        "image_index": torch.tensor(index),
    }


def _match(ours: Prediction, theirs: Prediction) -> tuple[int, int, float, float]:
    """Return number of detections, number found, and the largest differences of boxes and scores of an image."""
    chosen_n = ours["scores"] >= MIN_SCORE
    boxes_n4, scores_n, labels_n = (ours[name][chosen_n] for name in ("boxes", "scores", "labels"))
    if len(scores_n) == 0 or len(theirs["scores"]) == 0:
        return len(scores_n), 0, 0.0, 0.0
    distance_nm = (boxes_n4[:, None] - theirs["boxes"]).abs().amax(dim=2)
    difference_nm = (scores_n[:, None] - theirs["scores"]).abs()
    is_same_nm = (distance_nm <= _SAME_PX) & (difference_nm <= _SAME_SCORE)
    is_same_nm &= labels_n[:, None] == theirs["labels"]
    nearest_n = torch.where(is_same_nm, distance_nm, torch.inf).argmin(dim=1)
    found_n = is_same_nm.any(dim=1)
    rows = torch.arange(len(nearest_n))[found_n]
    columns = nearest_n[found_n]
    if len(rows) == 0:
        return len(scores_n), 0, 0.0, 0.0
    return (
        len(scores_n),
        len(rows),
        float(distance_nm[rows, columns].max()),
        float(difference_nm[rows, columns].max()),
    )


def _indices(predictions: list[Prediction]) -> list[int]:
    return [int(each["image_index"]) for each in predictions]
