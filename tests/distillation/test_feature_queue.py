"""The ring of the latest instances, against a truncated list."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
import torch

from distune.detectors.taps import Instances, StudentTaps, TeacherTaps
from distune.distillation.maps.pooling import PooledFeatures
from distune.distillation.prototypes.feature_queue import FeatureQueue, ring_slots

MakeTaps = Callable[..., tuple[StudentTaps, TeacherTaps]]


def queue(capacity: int = 4, **settings: Any) -> FeatureQueue:
    settings = {"min_box_side_px": 12.0, **settings}
    return FeatureQueue(
        num_levels=2, num_classes=3, capacity=capacity, student_channels=2, teacher_channels=3, **settings
    )


def batch_of(make_taps: MakeTaps, seed: int, counts: tuple[int, ...]) -> tuple[PooledFeatures, Instances]:
    student, _ = make_taps(seed=seed, boxes_per_image=counts)
    instances = student.instances
    generator = torch.Generator().manual_seed(seed)
    num = sum(counts)
    features = PooledFeatures(torch.rand(2, num, 2, generator=generator), torch.rand(2, num, 3, generator=generator))
    return features, instances


def rows(store: FeatureQueue) -> dict[int, set[tuple[float, ...]]]:
    kept = store.features()
    found: dict[int, set[tuple[float, ...]]] = {1: set(), 2: set(), 3: set()}
    for n, label in enumerate(kept.labels_N.tolist()):
        row = [
            *kept.student_LND[:, n].flatten().tolist(),
            *kept.teacher_LNE[:, n].flatten().tolist(),
            *kept.origin_N2[n].tolist(),
        ]
        found[label].add(tuple(row))
    return found


@pytest.mark.parametrize("capacity", [1, 4, 50])
def test_keeps_the_latest_of_each_class_that_are_large_enough(make_taps: MakeTaps, capacity: int) -> None:
    store = queue(capacity)
    literal: dict[int, list[tuple[float, ...]]] = {1: [], 2: [], 3: []}
    for seed, counts in enumerate([(3, 2), (0, 0), (30, 1), (5, 9), (0, 4)]):
        features, instances = batch_of(make_taps, seed, counts)
        store.add(features, instances)
        for n in range(sum(counts)):
            x1, y1, x2, y2 = instances.boxes_N4[n].tolist()
            if min(x2 - x1, y2 - y1) > 12:
                row = [
                    *features.student_LND[:, n].flatten().tolist(),
                    *features.teacher_LNE[:, n].flatten().tolist(),
                    *instances.origin_N2[n].tolist(),
                ]
                literal[int(instances.labels_N[n])].append(tuple(row))
        assert rows(store) == {label: set(kept[-capacity:]) for label, kept in literal.items()}
    assert all(len(kept) > 4 for kept in literal.values())


def test_no_two_instances_go_to_one_slot() -> None:
    """Not even when a batch holds more of a class than its ring: devices write in any order."""
    label_N = torch.randint(0, 3, (60,), generator=torch.Generator().manual_seed(0))
    kept_NC = label_N[:, None] == torch.arange(3)
    slot_N = ring_slots(kept_NC, torch.tensor([0, 3, 11]), capacity=4)
    used = slot_N[slot_N < 12].tolist()
    assert sorted(used) == list(range(12))
    assert [int(label_N[n]) for n in range(60) if slot_N[n] < 12] == [slot // 4 for slot in used]


def test_clear_removes_everything(make_taps: MakeTaps) -> None:
    store = queue()
    store.add(*batch_of(make_taps, 0, (9, 9)))
    store.clear()
    assert store.features().labels_N.numel() == 0
    assert all(value.numel() == 0 for name, value in store.state_dict().items() if name != "seen")


def test_its_state_is_restored_exactly_and_continues_alike(make_taps: MakeTaps) -> None:
    for counts in ((2, 1), (20, 20)):
        store, restored = queue(), queue()
        store.add(*batch_of(make_taps, 0, counts))
        file = io.BytesIO()
        torch.save(store.state_dict(), file)
        file.seek(0)
        restored.add(*batch_of(make_taps, 5, (7, 7)))
        restored.load_state_dict(torch.load(file, weights_only=True))
        assert rows(store) == rows(restored)
        for one in (store, restored):
            one.add(*batch_of(make_taps, 1, (5, 6)))
        assert rows(store) == rows(restored)


def test_it_keeps_the_levels_on_which_instances_count(make_taps: MakeTaps) -> None:
    store, restored = queue(capacity=20), queue(capacity=20)
    features, instances = batch_of(make_taps, 0, (5, 6))
    counted_LN = torch.stack([torch.ones(11), torch.arange(11) % 2]).bool()
    store.add(features, instances, counted_LN)
    restored.load_state_dict(store.state_dict())
    for each in (store, restored):
        kept = each.features()
        rows_n = [int((instances.origin_N2 == origin).all(dim=1).int().argmax()) for origin in kept.origin_N2]
        assert torch.equal(kept.counts_LN, counted_LN[:, rows_n])
    assert not kept.counts_LN.all()
    store.clear()
    store.add(features, instances)
    assert store.features().counts_LN.all()


def test_a_state_of_an_earlier_version_counts_all_instances(make_taps: MakeTaps) -> None:
    store, restored = queue(), queue()
    store.add(*batch_of(make_taps, 0, (5, 6)))
    state = store.state_dict()
    del state["counted"]
    restored.load_state_dict(state, strict=True)
    assert rows(store) == rows(restored)
    assert restored.features().counts_LN.all()


def test_its_state_holds_only_the_filled_part(make_taps: MakeTaps) -> None:
    store = queue(capacity=10_000)
    store.add(*batch_of(make_taps, 0, (2, 1)))
    file = io.BytesIO()
    torch.save(store.state_dict(), file)
    assert file.tell() < 10_000


def test_a_state_of_another_shape_is_refused() -> None:
    other = FeatureQueue(
        num_levels=2, num_classes=4, capacity=4, student_channels=2, teacher_channels=3, min_box_side_px=1.0
    )
    with pytest.raises(RuntimeError, match="size mismatch"):
        queue().load_state_dict(other.state_dict())
    state = queue().state_dict()
    del state["teacher"]
    with pytest.raises(RuntimeError, match="Missing key"):
        queue().load_state_dict(state)
