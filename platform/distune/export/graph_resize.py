"""The resizing of a detector as operations of an ONNX graph, for images of any size."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.onnx.operators import shape_as_tensor
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from distune.detectors.resizing import SmoothResize


class GraphResize(GeneralizedRCNNTransform):  # type: ignore[misc]
    """The transform of a detector whose size depends on the image also when it is traced, with its antialiasing.

    torchvision's transform can be traced, but computes the size in float32, and sides may differ by a pixel.

    Args:
        plain: the transform that this one replaces.
    """

    def __init__(self, plain: GeneralizedRCNNTransform) -> None:
        nn.Module.__init__(self)
        self.__dict__.update(plain.__dict__)
        self._is_smooth = isinstance(plain, SmoothResize)

    def resize(self, image: Tensor, target: None = None) -> tuple[Tensor, None]:
        """Resize an image (3, H, W). ``target`` must be None."""
        assert target is None, "a detector is exported for inference"
        old_2 = shape_as_tensor(image)[-2:]
        if self.fixed_size is not None:
            new_2 = torch.tensor([self.fixed_size[1], self.fixed_size[0]])
            plain = _Resize.apply(image[None], new_2, False)[0]
            if not self._is_smooth:
                return plain, None
            smooth = _Resize.apply(image[None], new_2, True)[0]
            return torch.where(new_2.prod() < old_2.prod(), smooth, plain), None
        enlarged_2 = self._torchvision_size(old_2)
        if not self._is_smooth:
            return _Resize.apply(image[None], enlarged_2, False)[0], None
        shrunk_2 = self._smooth_size(old_2)
        new_2 = torch.where(shrunk_2.prod() < old_2.prod(), shrunk_2, enlarged_2)
        return _Resize.apply(image[None], new_2, True)[0], None  # antialiasing has no effect on enlarged images

    def _torchvision_size(self, old_2: Tensor) -> Tensor:
        """Return the size of an image, height and width, as ``_resize_image_and_masks`` computes it."""
        sides_2 = old_2.double()
        scale = torch.minimum(self.min_size[-1] / sides_2.min(), self.max_size / sides_2.max())
        return (sides_2 * scale).floor().long()

    def _smooth_size(self, old_2: Tensor) -> Tensor:
        """Return the size of an image, height and width, as ``resized_size`` computes it."""
        sides_2 = old_2.double()
        short, long = sides_2.min(), sides_2.max()
        min_size, max_size = float(self.min_size[-1]), float(self.max_size)
        new_long = (min_size * long / short).floor()
        is_bounded = new_long > max_size if min_size != max_size else new_long >= 0
        new_long = torch.where(is_bounded, torch.full_like(long, max_size), new_long)
        new_short = torch.where(is_bounded, (max_size * short / long).floor(), torch.full_like(short, min_size))
        is_short_2 = torch.stack([sides_2[0] <= sides_2[1], sides_2[0] > sides_2[1]])
        return torch.where(is_short_2, new_short, new_long).long()


class _Resize(torch.autograd.Function):
    """Bilinear resizing that is one operation of ONNX. torch's exporter has no antialiasing."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, size_2: Tensor, is_smooth: bool) -> Tensor:
        size = [int(side) for side in size_2]
        return interpolate(images, size=size, mode="bilinear", align_corners=False, antialias=is_smooth)

    @staticmethod
    def symbolic(graph: Any, images: Any, size_2: Any, is_smooth: bool) -> Any:
        none = graph.op("Constant", value_t=torch.tensor([], dtype=torch.float32))
        batch_and_channels = graph.op("Constant", value_t=torch.tensor([1, 3]))
        sizes = graph.op("Concat", batch_and_channels, size_2, axis_i=0)
        return graph.op(
            "Resize",
            images,
            none,
            none,
            sizes,
            mode_s="linear",
            coordinate_transformation_mode_s="half_pixel",
            antialias_i=int(is_smooth),
            exclude_outside_i=int(is_smooth),  # torch's antialiasing: weights at the border sum to 1
        ).setType(images.type().with_sizes([1, 3, None, None]))
