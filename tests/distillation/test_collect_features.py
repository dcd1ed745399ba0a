"""Features from a feature pass over batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch

from distune.detectors.taps import Frame, Instances, StudentTaps, TeacherTaps, View
from distune.distillation.maps.pooling import pool_instances
from distune.distillation.prototypes.collect_features import InstancePooling, collect_features
from distune.distillation.prototypes.prototypes import InstanceFeatures

MakeTaps = Callable[..., tuple[StudentTaps, TeacherTaps]]
Batch = tuple[View, View, Instances]


def batches(make_taps: MakeTaps) -> list[Batch]:
    made = [make_taps(seed=seed, boxes_per_image=counts) for seed, counts in enumerate([(3, 0), (4, 4), (0, 5)])]
    return [(student.view, teacher.view, student.instances) for student, teacher in made]


def feature_pass(found: list[Batch], *, max_images: int = 100, min_box_side_px: float = 12.0) -> InstanceFeatures:
    asked: list[int] = []

    def source(wanted: int) -> Iterator[Batch]:
        asked.append(wanted)
        return iter(found)

    features = collect_features(
        source,
        pool=InstancePooling((8, 16), "roi_align"),
        min_box_side_px=min_box_side_px,
        max_images=max_images,
        num_classes=3,
    )
    assert asked == [max_images]
    return features


def test_pools_every_instance_that_is_large_enough(make_taps: MakeTaps) -> None:
    found = batches(make_taps)
    features = feature_pass(found)
    origins, rows = [], []
    for student, _, instances in found:
        pooled_ND = pool_instances(student.neck[16], instances, stride=16, pooling="roi_align")
        for n, (x1, y1, x2, y2) in enumerate(instances.boxes_N4.tolist()):
            if min(x2 - x1, y2 - y1) > 12:
                origins.append(instances.origin_N2[n].tolist())
                rows.append(pooled_ND[n])
    assert features.origin_N2.tolist() == origins
    torch.testing.assert_close(features.student_LND[1], torch.stack(rows).detach())
    assert features.teacher_LNE.shape == (2, len(rows), 8)
    assert 0 < len(rows) < 16


def test_the_size_of_a_box_is_that_in_the_images_of_the_student(make_taps: MakeTaps) -> None:
    """As in the queue; a student such as SSD may see other sizes than the stream has."""
    found = batches(make_taps)
    doubled: list[Batch] = []
    for student, teacher, instances in found:
        sizes = tuple((2 * height, 2 * width) for height, width in instances.frame.image_sizes)
        height, width = instances.frame.padded_size
        doubled.append((student, teacher, instances.seen_in(Frame((2 * height, 2 * width), sizes))))
    assert feature_pass(doubled).origin_N2.tolist() == feature_pass(found).origin_N2.tolist()


def test_uses_the_first_images_of_each_class(make_taps: MakeTaps) -> None:
    everything, limited = feature_pass(batches(make_taps)), feature_pass(batches(make_taps), max_images=2)
    expected = []
    for label in (1, 2, 3):
        of_class = everything.origin_N2[everything.labels_N == label].tolist()
        first = sorted({image for image, _ in of_class})[:2]
        expected += [origin for origin in of_class if origin[0] in first]
    assert sorted(limited.origin_N2.tolist()) == sorted(expected)
    assert len(expected) < everything.labels_N.numel()


def test_a_feature_pass_without_boxes_or_batches(make_taps: MakeTaps) -> None:
    assert feature_pass(batches(make_taps), min_box_side_px=1000.0).labels_N.numel() == 0
    with pytest.raises(ValueError, match="no batch"):
        feature_pass([])
