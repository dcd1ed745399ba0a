"""The resizing inside of a detector, equal to that of the training images."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import interpolate
from torchvision.models.detection.transform import GeneralizedRCNNTransform, _resize_image_and_masks, resize_boxes

from distune.config.image_size import resized_size


class SmoothResize(GeneralizedRCNNTransform):  # type: ignore[misc]
    """torchvision's transform of a detector, which shrinks images with antialiasing.

    Training images are resized before they reach the detector, with antialiasing. torchvision's transform has none, so
    a photograph that is shrunk a lot would have other pixels in evaluation. Images are enlarged as there.

    Args:
        plain: the transform that this one replaces.
    """

    def __init__(self, plain: GeneralizedRCNNTransform) -> None:
        nn.Module.__init__(self)
        self.__dict__.update(plain.__dict__)

    def resize(self, image: Tensor, target: dict[str, Tensor] | None = None) -> tuple[Tensor, dict[str, Tensor] | None]:
        """Resize an image (3, H, W), and the boxes and masks of its target.

        Args:
            image: normalized.
            target: of the image; None in evaluation.

        Returns:
            The image and the target in its new size.
        """
        height, width = image.shape[-2:]
        fixed_size = self.fixed_size
        if fixed_size is None:
            size = resized_size(height, width, min_size_px=self.min_size[-1], max_size_px=self.max_size)
        else:
            size = (fixed_size[1], fixed_size[0])
        if size == (height, width):  # as in training: nothing to do, and no wait of a GPU for the sizes of boxes
            if self.training:
                self.torch_choice(self.min_size)  # the random numbers that follow stay those of earlier trainings
            return image, target
        if size[0] * size[1] < height * width:
            image = interpolate(image[None], size=list(size), mode="bilinear", align_corners=False, antialias=True)[0]
            if target is not None and "masks" in target:
                target["masks"] = interpolate(target["masks"][:, None].float(), size=list(size))[:, 0].byte()
        else:
            shorter_px = self.torch_choice(self.min_size) if self.training else self.min_size[-1]
            image, target = _resize_image_and_masks(image, shorter_px, self.max_size, target, fixed_size)
        if target is not None:
            target["boxes"] = resize_boxes(target["boxes"], (height, width), image.shape[-2:])
        return image, target


class _KeptSize(GeneralizedRCNNTransform):  # type: ignore[misc]
    """torchvision's transform of a detector without the resizing."""

    def __init__(self, plain: GeneralizedRCNNTransform) -> None:
        nn.Module.__init__(self)
        self.__dict__.update(plain.__dict__)

    def resize(self, image: Tensor, target: dict[str, Tensor] | None = None) -> tuple[Tensor, dict[str, Tensor] | None]:
        """Return an image and its target as they are."""
        return image, target


@contextlib.contextmanager
def sizes_kept(models: Iterable[nn.Module]) -> Iterator[None]:
    """Let torchvision detectors take images in the sizes that they have inside the block.

    Training images of random sizes would get the size of evaluation otherwise, also for a teacher, which is in
    evaluation mode. Detectors of a fixed size, such as SSD, still resize.

    Args:
        models: the detectors.

    Yields:
        Nothing.
    """
    plain: list[tuple[nn.Module, Any]] = [(model, model.transform) for model in models]
    try:
        for model, transform in plain:
            if transform.fixed_size is None:
                model.transform = _KeptSize(transform)
        yield
    finally:
        for model, transform in plain:
            model.transform = transform


def smooth_resize(model: nn.Module) -> None:
    """Let a torchvision detector shrink images with antialiasing."""
    plain = model.transform
    assert isinstance(plain, GeneralizedRCNNTransform)
    model.transform = SmoothResize(plain)
