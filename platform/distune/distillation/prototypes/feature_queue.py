"""Features from the ordinary training batches: the latest of each class, in memory of fixed size.

Shape legend: ``L`` levels, ``C`` classes without background, ``Q`` capacity per class, ``D`` student channels, ``E``
teacher channels, ``N`` instances of a batch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from distune.detectors.taps import Instances
from distune.distillation.maps.pooling import PooledFeatures
from distune.distillation.prototypes.prototypes import InstanceFeatures

_EMPTY: dict[str, float] = {"student": 0, "teacher": 0, "origin": -1, "counted": 1}
"""The names of the stores, and the value of an empty slot."""


def is_large_enough(boxes_N4: Tensor, *, min_box_side_px: float) -> Tensor:
    """Return whether both sides of each box are longer than the minimum; bool, (N,)."""
    return ((boxes_N4[:, 2:] - boxes_N4[:, :2]) > min_box_side_px).all(dim=1)


def ring_slots(kept_NC: Tensor, seen_C: Tensor, *, capacity: int) -> Tensor:
    """Return the slot of each instance in ring buffers, one per class, stored one after the other.

    No two instances get the same slot, so the order in which a device writes does not matter: of more instances than a
    ring holds, only the last are kept.

    Args:
        kept_NC: bool, the instances to keep, in the column of their class.
        seen_C: the number of instances of each class added before.
        capacity: of a ring.

    Returns:
        (N,) slots; C times ``capacity`` for instances that are not kept.
    """
    num_classes = seen_C.shape[0]
    rank_NC = kept_NC.cumsum(dim=0) - 1
    lasts_NC = kept_NC & (rank_NC >= kept_NC.sum(dim=0) - capacity)
    first_C = torch.arange(num_classes, device=seen_C.device) * capacity
    return torch.where(lasts_NC, first_C + (seen_C + rank_NC) % capacity, num_classes * capacity).amin(dim=1)


class FeatureQueue(nn.Module):
    """A ring buffer of the latest ``capacity`` instances per class. Adding waits for no device.

    The state dict holds the filled part of the rings only.

    Args:
        num_levels: common levels.
        num_classes: without background.
        capacity: number of instances of each class.
        student_channels: of the student's features.
        teacher_channels: of the teacher's features.
        min_box_side_px: boxes with a side this short or shorter are not kept.
    """

    student: Tensor
    teacher: Tensor
    origin: Tensor
    counted: Tensor
    seen: Tensor

    def __init__(
        self,
        *,
        num_levels: int,
        num_classes: int,
        capacity: int,
        student_channels: int,
        teacher_channels: int,
        min_box_side_px: float,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.capacity = capacity
        self.min_box_side_px = min_box_side_px
        num_slots = num_classes * capacity + 1  # the last one is for instances that are not kept
        self.register_buffer("student", torch.zeros(num_levels, num_slots, student_channels))
        self.register_buffer("teacher", torch.zeros(num_levels, num_slots, teacher_channels))
        self.register_buffer("origin", torch.full((1, num_slots, 2), -1, dtype=torch.int64))
        self.register_buffer("counted", torch.ones(num_levels, num_slots, 1, dtype=torch.bool))
        self.register_buffer("seen", torch.zeros(num_classes, dtype=torch.int64))
        self.register_state_dict_post_hook(_keep_filled_part)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_restore_full_size)  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def add(self, features: PooledFeatures, instances: Instances, counted_LN: Tensor | None = None) -> None:
        """Add the instances of a batch in order; the latest of a class replace its oldest.

        Args:
            features: of the instances, as pooled.
            instances: of the batch.
            counted_LN: bool, the levels on which each counts; None counts all on all.
        """
        class_C = torch.arange(1, self.num_classes + 1, device=instances.labels_N.device)
        large_N1 = is_large_enough(instances.boxes_N4, min_box_side_px=self.min_box_side_px)[:, None]
        kept_NC = (instances.labels_N[:, None] == class_C) & large_N1
        slot_N = ring_slots(kept_NC, self.seen, capacity=self.capacity)
        self.student[:, slot_N] = features.student_LND.detach()
        self.teacher[:, slot_N] = features.teacher_LNE
        self.origin[:, slot_N] = instances.origin_N2
        self.counted[:, slot_N] = True if counted_LN is None else counted_LN[:, :, None]
        self.seen += kept_NC.sum(dim=0)

    def features(self) -> InstanceFeatures:
        """Return all instances, class after class."""
        filled_CQ = torch.arange(self.capacity, device=self.seen.device) < self.seen[:, None]
        slots_N = filled_CQ.flatten().nonzero().squeeze(1)
        return InstanceFeatures(
            student_LND=self.student[:, slots_N],
            teacher_LNE=self.teacher[:, slots_N],
            labels_N=slots_N // self.capacity + 1,
            origin_N2=self.origin[0, slots_N],
            counted_LN=self.counted[:, slots_N, 0],
        )

    def clear(self) -> None:
        """Remove all instances."""
        for name, empty in _EMPTY.items():
            getattr(self, name).fill_(empty)
        self.seen.zero_()

    def rings(self, store: Tensor) -> Tensor:
        """Return a view of one of the stores by class, without its last slot: (L, C, Q, channels)."""
        return store[:, :-1].view(store.shape[0], self.num_classes, self.capacity, store.shape[2])


def _keep_filled_part(queue: nn.Module, state: dict[str, Any], prefix: str, _metadata: Any) -> None:
    assert isinstance(queue, FeatureQueue)
    num_filled = min(int(queue.seen.max()), queue.capacity)
    for name in _EMPTY:
        # A copy, since saving a view saves all of the memory behind it.
        state[prefix + name] = queue.rings(state[prefix + name])[:, :, :num_filled].clone()


def _restore_full_size(queue: nn.Module, state: dict[str, Any], prefix: str, *_rest: Any) -> None:
    assert isinstance(queue, FeatureQueue)
    for name, empty in _EMPTY.items():
        saved = state.get(prefix + name)
        full = torch.full_like(getattr(queue, name), empty)
        if saved is None and name == "counted" and prefix + "seen" in state:  # of an earlier version
            state[prefix + name] = full
        rings = queue.rings(full)
        if saved is not None and saved.shape == (*rings.shape[:2], *saved.shape[2:3], *rings.shape[3:]):
            rings[:, :, : saved.shape[2]] = saved
            state[prefix + name] = full
