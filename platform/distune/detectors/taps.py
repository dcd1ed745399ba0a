"""Taps: the neck maps, class scores and boxes that a detector returns besides its losses, in one form for all families.

Shape legend: ``B`` batch, ``D`` channels, ``H`` ``W`` a map, ``N`` instances (ground-truth boxes of the whole batch),
``R`` sampled proposals of the whole batch, ``A`` anchors of an image, ``C`` classes without background.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList

NeckMaps = dict[int, Tensor]
"""Stride in pixels of the padded batch to the map of that level, (B, D, H, W), fine to coarse."""
_MOST_FLOAT16 = torch.finfo(torch.float16).max


@dataclasses.dataclass(frozen=True)
class Frame:
    """The layout of a batch as a model sees it: images resized, at the upper left, padded.

    Attributes:
        padded_size: height and width of the padded batch, in pixels.
        image_sizes: height and width of each image in it, without padding; on the host.
    """

    padded_size: tuple[int, int]
    image_sizes: tuple[tuple[int, int], ...]


@dataclasses.dataclass(frozen=True)
class View:
    """The neck maps of a batch, and the layout of the images in them."""

    neck: NeckMaps
    frame: Frame


@dataclasses.dataclass(frozen=True)
class Instances:
    """The ground-truth boxes of a batch, image after image.

    Attributes:
        boxes_N4: xyxy pixels of the padded batch, float32.
        labels_N: 1 to C; 0 is background and never occurs.
        counts: boxes of each image, on the host: reading it never waits for the device.
        image_of_N: index of each box's image in the batch, int64.
        origin_N2: index of the image in its dataset and index of the box in that image's annotations, int64.
        frame: the coordinate frame of the boxes.
    """

    boxes_N4: Tensor
    labels_N: Tensor
    counts: tuple[int, ...]
    image_of_N: Tensor
    origin_N2: Tensor
    frame: Frame

    @classmethod
    def of(cls, targets: list[dict[str, Tensor]], frame: Frame) -> Instances:
        """Concatenate the targets of a batch.

        Args:
            targets: per image ``boxes`` (n, 4) and ``labels`` (n,), and if known ``image_index`` () and ``box_index``
                (n,), all int64 except the boxes. Unknown origins are -1.
            frame: the coordinate frame of the boxes.

        Returns:
            The boxes of all images.
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
            frame=frame,
        )

    @property
    def rois_N5(self) -> Tensor:
        """``(image, x1, y1, x2, y2)``, the input of ``torchvision.ops.roi_align``."""
        return torch.cat([self.image_of_N[:, None].to(self.boxes_N4.dtype), self.boxes_N4], dim=1)

    def seen_in(self, frame: Frame) -> Instances:
        """Convert the boxes to the frame of another model, which may have resized the images differently."""
        if frame.image_sizes == self.frame.image_sizes:
            return self if frame == self.frame else dataclasses.replace(self, frame=frame)
        factors = [
            self.boxes_N4.new_full((count, 2), new[1] / old[1])
            .select_scatter(self.boxes_N4.new_full((count,), new[0] / old[0]), dim=1, index=1)
            .repeat(1, 2)
            for count, new, old in zip(self.counts, frame.image_sizes, self.frame.image_sizes, strict=True)
        ]
        return dataclasses.replace(self, boxes_N4=self.boxes_N4 * torch.cat(factors), frame=frame)


@dataclasses.dataclass(frozen=True)
class PredictionSites:
    """The student's outputs at the sites where its head is trained, and the ground truth of each site.

    Prediction sites are sampled proposals (two-stage), anchors or cells (one-stage), flattened over the batch to ``R``.

    Attributes:
        logits_RC: (R, C + 1). ``softmax``: background first. ``sigmoid``: one per class, where class 0 is torchvision's
            unused background.
        boxes: computes the predicted boxes, (R, 4) xyxy pixels of the padded batch, with gradient. A head that predicts
            one box per class gives that of the matched class.
        labels_R: label of the matched ground-truth box; 0 where there is none.
        instance_R: int64 index into ``Instances`` of the matched box; 0 where there is none.
        proposals: two-stage only: the proposals of each image, (r, 4) xyxy pixels of the padded batch; None otherwise.
        in_image: computes bool (R,), whether the center of a site lies in its image; the others lie in the padding of a
            batch. None where all do.
    """

    logits_RC: Tensor
    boxes: Callable[[], Tensor]
    labels_R: Tensor
    instance_R: Tensor
    proposals: list[Tensor] | None
    in_image: Callable[[], Tensor] | None = None

    @property
    def positive_R(self) -> Tensor:
        """Bool, whether the site is matched to a ground-truth box."""
        return self.labels_R > 0


@dataclasses.dataclass(frozen=True)
class StudentTaps:
    """One training forward pass of a student.

    Attributes:
        losses: torchvision's task losses by torchvision's names, with gradient.
        neck: the neck's maps, with gradient.
        prediction_sites: its outputs at the sites where its head is trained, with gradient.
        instances: the ground truth of the batch.
    """

    losses: dict[str, Tensor]
    neck: NeckMaps
    prediction_sites: PredictionSites
    instances: Instances

    @property
    def task_loss(self) -> Tensor:
        """The sum of the task losses, a float32 scalar with gradient."""
        return torch.stack([loss.float() for loss in self.losses.values()]).sum()

    @property
    def view(self) -> View:
        """The neck's maps and their frame."""
        return View(self.neck, self.instances.frame)


@dataclasses.dataclass(frozen=True)
class TeacherTaps:
    """One forward pass of a teacher in evaluation mode, without gradient.

    Attributes:
        view: the neck's maps and their frame.
        logits_at: computes the teacher's class logits, (R, C + 1), at the prediction sites of a student whose head has
            the same kind of sites and scores.
        boxes_at: computes the teacher's boxes at these sites, (R, 4), in the form of ``PredictionSites.boxes``.
    """

    view: View
    logits_at: Callable[[PredictionSites], Tensor]
    boxes_at: Callable[[PredictionSites], Tensor]

    @property
    def neck(self) -> NeckMaps:
        """The neck's maps."""
        return self.view.neck


@dataclasses.dataclass(frozen=True)
class TeacherMaps:
    """The maps of a batch, without gradient, and the outputs of the heads that have run on them.

    Attributes:
        features: of the backbone by torchvision's names, fine to coarse, (B, D, H, W).
        frame: the layout of the images in them.
        outputs: of heads, by name. A head runs once for all students, and only if one needs it.
    """

    features: dict[str, Tensor]
    frame: Frame
    outputs: dict[str, Tensor] = dataclasses.field(default_factory=dict)

    def output(self, name: str, compute: Callable[[], Tensor]) -> Tensor:
        """Return an output, computed when it is first asked for."""
        if name not in self.outputs:
            self.outputs[name] = compute()
        return self.outputs[name]

    @property
    def images(self) -> ImageList:
        """The batch as anchor generators see it: they use its size, and no pixels."""
        any_map = next(iter(self.features.values()))
        pixels = any_map.new_empty(1).expand(len(any_map), 3, *self.frame.padded_size)
        return ImageList(pixels, list(self.frame.image_sizes))

    @property
    def num_bytes(self) -> int:
        """Bytes of all tensors."""
        return sum(each.numel() * each.element_size() for each in (*self.features.values(), *self.outputs.values()))

    def to(self, device: torch.device) -> TeacherMaps:
        """Return a copy on a device; tensors that are there already are shared."""
        is_upload = device.type != "cpu"  # a copy from a device must have arrived before it is read
        return TeacherMaps(
            {name: each.to(device, non_blocking=is_upload) for name, each in self.features.items()},
            self.frame,
            {name: each.to(device, non_blocking=is_upload) for name, each in self.outputs.items()},
        )

    def to_float16(self) -> TeacherMaps:
        """Return a copy with float32 maps in half precision, the largest values limited to its range."""
        return self._map_features(
            lambda each: (
                each.clamp(-_MOST_FLOAT16, _MOST_FLOAT16).to(torch.float16) if each.dtype == torch.float32 else each
            )
        )

    def to_float32(self) -> TeacherMaps:
        """Return a copy with maps of half precision in float32."""
        return self._map_features(lambda each: each.float() if each.dtype == torch.float16 else each)

    def _map_features(self, change: Callable[[Tensor], Tensor]) -> TeacherMaps:
        changed = {name: change(each) for name, each in self.features.items()}
        return TeacherMaps(changed, self.frame, dict(self.outputs))


class Detector(Protocol):
    """A torchvision detector with taps. Each family implements it in one file.

    Attributes:
        model: the plain torchvision detector; its state dict is saved and exported.
        family: such as ``retinanet``.
        score_kind: ``softmax`` or ``sigmoid``.
        base_size_px: side of the smallest boxes that the family assigns to a level of stride 4, even if it has no such
            level. Boxes of twice this side belong to stride 8, and so on.
    """

    model: nn.Module
    family: str
    score_kind: str
    base_size_px: float

    def forward_train(self, images: list[Tensor], targets: list[dict[str, Tensor]]) -> StudentTaps:
        """Run a training forward pass on images (3, H, W) in [0, 1] with targets ``boxes`` (n, 4), ``labels`` (n,)."""
        ...

    def forward_teacher(self, images: list[Tensor]) -> TeacherTaps:
        """Run a teacher's forward pass: evaluation mode, no gradient."""
        ...

    def teacher_maps(self, images: list[Tensor]) -> TeacherMaps:
        """Run the part of a teacher's forward pass that does not depend on the student: no head runs."""
        ...

    def taps_of(self, maps: TeacherMaps) -> TeacherTaps:
        """Return the taps of a teacher's forward pass. A head runs when its output is first asked for."""
        ...

    def neck_only(self, images: list[Tensor]) -> View:
        """Return the neck's maps in evaluation mode without gradient, as a feature pass for prototypes needs them."""
        ...


def frame_of(batch: ImageList) -> Frame:
    """Return the frame of a batch that torchvision's transform has resized and padded."""
    height, width = batch.tensors.shape[-2:]
    return Frame((int(height), int(width)), tuple((int(size[0]), int(size[1])) for size in batch.image_sizes))


def _origin(target: dict[str, Tensor]) -> Tensor:
    labels_n = target["labels"].reshape(-1)
    unknown = torch.full_like(labels_n, -1)
    image_n = target["image_index"].expand_as(labels_n) if "image_index" in target else unknown
    return torch.stack([image_n, target.get("box_index", unknown)], dim=1)
