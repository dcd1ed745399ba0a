"""torchvision v2 transforms from a stored image to the input of a detector.

A sample is a dict of ``image`` (a ``tv_tensors.Image``, uint8), ``boxes`` (``tv_tensors.BoundingBoxes``), ``labels``,
``box_index`` and ``image_index``, and ``masks`` (a ``tv_tensors.Mask``, uint8) where the model is trained on masks.
Evaluation only needs ``to_unit_range``: the detector itself resizes.

A transformed sample also has ``teacher_image`` where a teacher takes another size than the student: neither sees an
image that was resized twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

Sample = dict[str, Any]
Transform = Callable[[Sample], Sample]

_FILL: dict[type | str, Any] = {tv_tensors.Image: (123.0, 117.0, 104.0), "others": 0}
"""Values around an image on a larger canvas: the mean color of ImageNet, as in torchvision's references."""


def training_transform(
    *,
    min_size_px: int,
    max_size_px: int,
    horizontal_flip: float = 0.0,
    vertical_flip: float = 0.0,
    color_jitter: float = 0.0,
    photometric_distortion: float = 0.0,
    zoom_out: float = 0.0,
    iou_crop: bool = False,
    min_sizes_px: Sequence[int] | None = None,
    scale_jitter: Sequence[float] | None = None,
    crop_size_px: int | None = None,
    squares_px: Sequence[int | None] = (None,),
) -> Transform:
    """Change an image at random, then resize it. Uses torch's global generator, as torchvision does.

    Args:
        min_size_px: the shorter side after resizing.
        max_size_px: the longer side is at most this.
        horizontal_flip: probability of a flip left to right.
        vertical_flip: probability of a flip upside down.
        color_jitter: strength of random brightness, contrast and saturation; 0 is none.
        photometric_distortion: probability of each distortion of colors of SSD.
        zoom_out: probability of a place on a canvas of up to four times the sides.
        iou_crop: crop at random, as SSD does.
        min_sizes_px: the shorter side is drawn from these instead of ``min_size_px``; None draws none.
        scale_jitter: lowest and highest factor of the largest size that fits into the square of ``crop_size_px``, to
            which the image is cropped or padded; None does not.
        crop_size_px: side of that square; None is ``max_size_px``.
        squares_px: of the student, and of a teacher that differs: the side of the square to which it resizes all
            images, or None where it keeps their aspect ratio. ``scale_jitter`` makes its own square for both.

    Returns:
        The transform of a sample.
    """
    steps: list[Any] = []
    if photometric_distortion > 0:
        steps.append(v2.RandomPhotometricDistort(p=photometric_distortion))
    if zoom_out > 0:
        steps.append(v2.RandomZoomOut(fill=_FILL, p=zoom_out))
    if iou_crop:
        steps += [v2.RandomIoUCrop(), v2.SanitizeBoundingBoxes(labels_getter=_per_box)]
    if horizontal_flip > 0:
        steps.append(v2.RandomHorizontalFlip(horizontal_flip))
    if vertical_flip > 0:
        steps.append(v2.RandomVerticalFlip(vertical_flip))
    if color_jitter > 0:
        steps.append(v2.ColorJitter(brightness=color_jitter, contrast=color_jitter, saturation=color_jitter))
    if scale_jitter is not None:
        low, high = scale_jitter
        side = max_size_px if crop_size_px is None else crop_size_px
        steps.append(v2.ScaleJitter((side, side), (low, high), antialias=True))
        steps.append(v2.RandomCrop(side, pad_if_needed=True, fill=_FILL))
        return _pipeline(steps, [])
    resizes = [_resize(min_size_px, max_size_px, square_px) for square_px in squares_px]
    if min_sizes_px is not None and squares_px[0] is None:
        resizes[0] = v2.RandomShortestSize(list(min_sizes_px), max_size_px, antialias=True)
    return _pipeline(steps, resizes)


def plain_transform(*, min_size_px: int, max_size_px: int, squares_px: Sequence[int | None] = (None,)) -> Transform:
    """Resize, convert to float in [0, 1], and remove boxes that have become smaller than a pixel."""
    return _pipeline([], [_resize(min_size_px, max_size_px, square_px) for square_px in squares_px])


def to_unit_range(image: Tensor) -> Tensor:
    """Convert a uint8 image to float32 in [0, 1]."""
    return image.to(torch.float32) / 255.0


class _Square:
    """Resizes a sample to a square as ``SmoothResize`` does: with antialiasing if the image loses pixels."""

    def __init__(self, side_px: int) -> None:
        self._side_px = side_px

    def __call__(self, sample: Sample) -> Sample:
        height, width = sample["image"].shape[-2:]
        side_px = self._side_px
        resize: Transform = v2.Resize([side_px, side_px], antialias=side_px * side_px < height * width)
        return resize(sample)


class _WithTeacherImage:
    """Changes a sample, then resizes it for the student, and its image for the teacher."""

    def __init__(self, change: Transform | None, *, student: Transform, teacher: Transform) -> None:
        self._change, self._student, self._teacher = change, student, teacher

    def __call__(self, sample: Sample) -> Sample:
        changed = sample if self._change is None else self._change(sample)
        image = self._teacher({"image": changed["image"]})["image"]
        return {**self._student(changed), "teacher_image": image}


def _pipeline(steps: list[Any], resizes: Sequence[Any]) -> Transform:
    """Return the steps, then the resizing for the student, and if there is a second one, that for the teacher."""
    if len(resizes) < 2:
        alone: Transform = v2.Compose([*steps, *resizes, *_to_input()])
        return alone
    for_student, for_teacher = resizes
    return _WithTeacherImage(
        v2.Compose(steps) if steps else None,
        student=v2.Compose([for_student, *_to_input()]),
        teacher=v2.Compose([for_teacher, _to_float(), v2.ToPureTensor()]),
    )


def _to_float() -> Any:
    return v2.ToDtype({tv_tensors.Image: torch.float32, "others": None}, scale=True)


def _to_input() -> list[Any]:
    return [
        _to_float(),
        # Rounding may move a corner slightly outside of the image, and SanitizeBoundingBoxes removes such boxes.
        v2.ClampBoundingBoxes(),
        v2.SanitizeBoundingBoxes(labels_getter=_per_box),
        v2.ToPureTensor(),
    ]


def _resize(min_size_px: int, max_size_px: int, square_px: int | None) -> Any:
    if square_px is not None:
        return _Square(square_px)
    # torchvision refuses equal sizes: resize by the longer side only.
    if min_size_px == max_size_px:
        return v2.Resize(None, max_size=max_size_px, antialias=True)
    return v2.Resize([min_size_px], max_size=max_size_px, antialias=True)


def _per_box(sample: Sample) -> tuple[Tensor, Tensor]:
    """Return the values per box, which are removed together with the box."""
    return sample["labels"], sample["box_index"]
