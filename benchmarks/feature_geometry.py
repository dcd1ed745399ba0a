"""Do the teacher's features tell classes apart? Mean cosine, class gap and effective rank of pooled boxes by level::

    python benchmarks/feature_geometry.py experiments/bccd.yaml --home runs
    python benchmarks/feature_geometry.py FILE --home runs --split search --set data.min_size_px=224

Trains the teacher of the experiment when ``--home`` has none. The features are those of all ground-truth boxes of the
split, not augmented. It prints a table for each way of centering (``distillation.center``; ``all_boxes`` is the mean
over all boxes instead of the mean of the classes' means) and each smallest size of a box in cells of the level
(``distillation.min_box_cells``), and one JSON line at the end. ``nearest_mean`` is how often a box is nearest to the
mean direction of its class, mean over classes.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from distune.config.home import Home
from distune.config.load import load_experiment
from distune.data.build import build_splits, build_stream
from distune.detectors.levels import common_strides, probe_levels
from distune.detectors.taps import Detector, Frame, Instances
from distune.distillation.feature_geometry import figures_of
from distune.distillation.maps.box_masks import counted_levels
from distune.distillation.maps.pooling import PooledFeatures, pool_view
from distune.distillation.prototypes.feature_centers import FeatureCenters
from distune.records import EpochReport
from distune.training.builder import TrialBuilder
from distune.training.teacher import prepare_teacher

CENTERS = ("none", "maps", "all_boxes", "instances")
MIN_CELLS = (0.0, 1.0, 2.0)
COLUMNS = ("boxes", "classes", "mean_cosine", "class_gap", "effective_rank", "nearest_mean")


def main() -> None:
    """Prints the tables of one teacher."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", help="a file")
    parser.add_argument("--set", nargs="*", default=[], metavar="PATH=VALUE", dest="overrides")
    parser.add_argument("--home", type=Path, default=Path("runs"), help="folder of the teachers")
    parser.add_argument("--split", choices=["train", "search"], default="train")
    parser.add_argument("--pooling", choices=["roi_align", "crop"], default="roi_align")
    parser.add_argument("--max-images", type=int, default=500)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    given = {path: yaml.safe_load(value) for path, value in (each.split("=", 1) for each in options.overrides)}
    experiment = load_experiment(options.experiment, overrides=given).experiment
    splits, device = build_splits(experiment.data), torch.device("cpu")
    ready = prepare_teacher(experiment, splits, home=Home(options.home), device=device, on_progress=_report)
    builder = TrialBuilder(experiment, splits, device)
    teacher = builder.teacher(str(ready.weights))
    teacher.model.eval()
    dataset = splits.train if options.split == "train" else splits.search
    stream = build_stream(dataset, experiment.data, batch_size=8, seed=0)
    batches = stream.plain_batches(range(min(options.max_images, len(dataset))))
    pixels = torch.zeros(3, experiment.data.min_size_px, experiment.data.min_size_px)
    of_student = probe_levels(builder.detector(experiment.student, seed=0), pixels)
    strides = common_strides(of_student, probe_levels(teacher, pixels))
    lines = measure(teacher, batches, strides, pooling=options.pooling)
    score = ready.metrics.get("search/AP")
    print(f"{experiment.name}, {options.split}, teacher {score} AP")
    for line in lines:
        if line["stride"] == strides[0]:
            print(f"\ncenter {line['center']}, boxes of at least {line['min_cells']:g} cells")
            print("stride  " + "".join(f"{name:>15}" for name in COLUMNS))
        print(f"{line['stride']:>6}  " + "".join(f"{_text(line.get(name)):>15}" for name in COLUMNS))
    setting = {"experiment": experiment.name, "split": options.split, "teacher_AP": score, "overrides": given}
    print(json.dumps({"benchmark": "feature_geometry", **setting, "lines": lines}))


@torch.no_grad()
def measure(teacher: Detector, batches: Any, strides: tuple[int, ...], *, pooling: Any) -> list[dict[str, Any]]:
    """Return a line per way of centering, smallest size and level."""
    features: list[Tensor] = []
    labels: list[Tensor] = []
    sides: list[Tensor] = []
    centers: FeatureCenters | None = None
    for batch in batches:
        view = teacher.forward_teacher(batch.images).view
        sizes = tuple((int(image.shape[-2]), int(image.shape[-1])) for image in batch.images)
        instances = Instances.of(batch.targets, Frame(view.frame.padded_size, sizes)).seen_in(view.frame)
        of_batch = pool_view(view, instances, strides=strides, pooling=pooling)
        if centers is None:
            channels = of_batch.shape[2]
            centers = FeatureCenters(
                "maps", strides, num_classes=1, student_channels=channels, teacher_channels=channels
            )
        counted_LN = torch.ones(of_batch.shape[:2], dtype=torch.bool)
        centers.update(view, view, PooledFeatures(of_batch, of_batch), instances.labels_N, counted_LN)
        features.append(of_batch)
        labels.append(instances.labels_N)
        sides.append(instances.boxes_N4)
    assert centers is not None, "the split has no image"
    features_LNE, labels_N, boxes_N4 = torch.cat(features, dim=1), torch.cat(labels), torch.cat(sides)
    lines = []
    for center in CENTERS:
        for min_cells in MIN_CELLS:
            counted_LN = counted_levels(boxes_N4, strides, min_cells=min_cells)
            for level, stride in enumerate(strides):
                counted_N = counted_LN[level]
                of_level, of_labels = features_LNE[level, counted_N], labels_N[counted_N]
                centered = of_level - _center(center, of_level, of_labels, centers.current.teacher_LE[level])
                lines.append(
                    {
                        "center": center,
                        "min_cells": min_cells,
                        "stride": stride,
                        "boxes": len(of_labels),
                        "classes": len(torch.unique(of_labels)),
                        **{name: round(value, 3) for name, value in figures_of(centered, of_labels).items()},
                        "nearest_mean": nearest_mean_accuracy(centered, of_labels),
                    }
                )
    return lines


def nearest_mean_accuracy(features_NE: Tensor, labels_N: Tensor) -> float | None:
    """How often an instance's direction is nearest to the mean direction of its own class, the other instances' mean.

    The mean over classes with at least two instances; chance is one over their number. None for fewer than two classes.
    """
    if len(torch.unique(labels_N)) < 2:
        return None
    unit_NE = torch.nn.functional.normalize(features_NE.double(), dim=1)
    classes, index_N = torch.unique(labels_N, return_inverse=True)
    one_hot_NC = torch.nn.functional.one_hot(index_N, len(classes)).double()
    counts_C = one_hot_NC.sum(dim=0)
    known_C = counts_C >= 2
    if int(known_C.sum()) < 2:
        return None
    sums_CE = one_hot_NC.T @ unit_NE
    cosines_NC = unit_NE @ torch.nn.functional.normalize(sums_CE, dim=1).T
    own_NE = torch.nn.functional.normalize(sums_CE[index_N] - unit_NE, dim=1)
    own_N1 = (unit_NE * own_NE).sum(dim=1, keepdim=True)
    cosines_NC = torch.where(one_hot_NC.bool(), own_N1, cosines_NC).masked_fill(~known_C, -2.0)
    right_N = (cosines_NC.argmax(dim=1) == index_N).double()
    return round(float(((one_hot_NC.T @ right_N) / counts_C)[known_C].mean()), 3)


def _center(center: str, features_NE: Tensor, labels_N: Tensor, of_maps_E: Tensor) -> Tensor:
    if center == "none" or len(labels_N) == 0:
        return torch.zeros_like(of_maps_E)
    if center == "maps":
        return of_maps_E
    if center == "all_boxes":
        return features_NE.mean(dim=0)
    return torch.stack([features_NE[labels_N == label].mean(dim=0) for label in torch.unique(labels_N)]).mean(dim=0)


def _text(value: Any) -> str:
    return "-" if value is None else f"{value:g}"


def _report(report: EpochReport, epochs: int) -> None:
    print(f"teacher: epoch {report.epoch}/{epochs}, AP {report.metrics['search/AP']:.1f}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
