"""What a detector hands out besides its losses: neck maps and class scores, alike for all families.

Shape legend: ``B`` batch, ``D`` channels, ``H`` ``W`` a map, ``N`` instances (ground-truth boxes of the whole batch),
``R`` sampled proposals of the whole batch, ``A`` anchors of an image, ``C`` classes without background.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

NeckMaps = dict[int, Tensor]
"""Stride in pixels of the padded batch to the map of that level, (B, D, H, W), fine to coarse."""


@dataclasses.dataclass(frozen=True)
class Instances:
    """The ground-truth boxes of a batch, image after image.

    Attributes:
        boxes_N4: xyxy pixels of the padded batch, float32.
        labels_N: 1 to C; 0 is background and never occurs.
        counts: boxes of each image, on the host: reading it never waits for the device.
        image_of_N: index of each box's image in the batch, int64.
        origin_N2: index of the image in its dataset and index of the box in that image's annotations, int64.
        image_size: height and width of the padded batch.
    """

    boxes_N4: Tensor
    labels_N: Tensor
    counts: tuple[int, ...]
    image_of_N: Tensor
    origin_N2: Tensor
    image_size: tuple[int, int]

    @classmethod
    def of(cls, targets: list[dict[str, Tensor]], image_size: tuple[int, int]) -> Instances:
        """Joins the targets of a batch.

        Args:
            targets: of each image ``boxes`` (n, 4) and ``labels`` (n,), and where they are known ``image_index`` () and
                ``box_index`` (n,), all int64 but the boxes. Unknown origins are -1.
            image_size: height and width of the padded batch.
        """
        counts = tuple(int(target["boxes"].shape[0]) for target in targets)
        device = targets[0]["boxes"].device
        image_of = [torch.full((count,), index, dtype=torch.int64, device=device) for index, count in enumerate(counts)]
        return cls(
            boxes_N4=torch.cat([target["boxes"].reshape(-1, 4) for target in targets]).float(),
            labels_N=torch.cat([target["labels"].reshape(-1) for target in targets]),
            counts=counts,
            image_of_N=torch.cat(image_of),
            origin_N2=torch.cat([_origin(target) for target in targets]),
            image_size=image_size,
        )

    @property
    def rois_N5(self) -> Tensor:
        """``(image, x1, y1, x2, y2)`` as ``torchvision.ops.roi_align`` takes them."""
        return torch.cat([self.image_of_N[:, None].to(self.boxes_N4.dtype), self.boxes_N4], dim=1)


@dataclasses.dataclass(frozen=True)
class ClassScores:
    """The student's class logits where it was trained, and which ground truth each place belongs to.

    Places are sampled proposals (two-stage) or anchors (one-stage), flattened over the batch to ``R``.

    Attributes:
        logits_RC: two-stage: (R, C + 1) softmax logits, background first. One-stage: (R, C + 1) sigmoid logits, one per
            class, where class 0 is torchvision's unused background.
        positive_R: bool, whether the place is matched to a ground-truth box.
        instance_R: int64 index into ``Instances`` of the matched box; 0 where not positive.
        proposals: two-stage only: the proposals of each image, (r, 4) xyxy pixels of the padded batch; None otherwise.
    """

    logits_RC: Tensor
    positive_R: Tensor
    instance_R: Tensor
    proposals: list[Tensor] | None


@dataclasses.dataclass(frozen=True)
class StudentTaps:
    """One training forward pass of a student.

    Attributes:
        losses: torchvision's task losses by torchvision's names, with gradient.
        neck: the neck's maps, with gradient.
        scores: its class scores at its training places, with gradient.
        instances: the ground truth of the batch.
    """

    losses: dict[str, Tensor]
    neck: NeckMaps
    scores: ClassScores
    instances: Instances


@dataclasses.dataclass(frozen=True)
class TeacherTaps:
    """One forward pass of a teacher in evaluation mode, without gradient.

    Attributes:
        neck: the neck's maps.
        logits_at: the teacher's class logits, (R, C + 1), at the places of a student of the same ``score_kind``.
    """

    neck: NeckMaps
    logits_at: Callable[[ClassScores], Tensor]


class Detector(Protocol):
    """A torchvision detector with taps. One file per family implements it.

    Attributes:
        model: the plain torchvision detector; its state dict is what is saved and exported.
        family: such as ``retinanet``.
        score_kind: ``softmax`` (two-stage, at proposals) or ``sigmoid`` (one-stage, at anchors).
        channels: of every neck map.
    """

    model: nn.Module
    family: str
    score_kind: str
    channels: int

    def learn(self, images: list[Tensor], targets: list[dict[str, Tensor]]) -> StudentTaps:
        """A training forward pass. Images (3, H, W) in [0, 1]; targets hold ``boxes`` (n, 4) and ``labels`` (n,)."""
        ...

    def observe(self, images: list[Tensor]) -> TeacherTaps:
        """A forward pass of a teacher: evaluation mode, no gradient."""
        ...

    def neck_only(self, images: list[Tensor]) -> NeckMaps:
        """The neck's maps in evaluation mode, no gradient: what a sweep for prototypes needs."""
        ...


def _origin(target: dict[str, Tensor]) -> Tensor:
    labels_n = target["labels"].reshape(-1)
    unknown = torch.full_like(labels_n, -1)
    image_n = target["image_index"].expand_as(labels_n) if "image_index" in target else unknown
    return torch.stack([image_n, target.get("box_index", unknown)], dim=1)
