"""Parts of a batch in several processes, as one process sees the whole batch: its padding, and the means of its losses.

torchvision pads the images of a batch to the largest. Features near the edge of an image, and the anchors in padding,
depend on it. Its losses divide by numbers of the batch, such as its positive anchors.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional
from torchvision.models.detection.image_list import ImageList

from distune.collectives import largest, num_processes, part_factor


def pad_as_whole(batch: ImageList) -> ImageList:
    """Pad a part of a batch to the size of the whole batch. Waits for the other processes, and for no device."""
    if num_processes() == 1:
        return batch
    height, width = batch.tensors.shape[-2:]
    most_high, most_wide = largest([int(height), int(width)])
    if (most_high, most_wide) == (height, width):
        return batch
    return ImageList(functional.pad(batch.tensors, (0, most_wide - width, 0, most_high - height)), batch.image_sizes)


def losses_of_whole(losses: dict[str, Tensor], divisor_of: Callable[[str], Tensor | int]) -> dict[str, Tensor]:
    """Scale the losses of a part of a batch, so that the mean over processes is the loss of the whole batch.

    Args:
        losses: of torchvision, by name.
        divisor_of: returns the number that a loss was divided by, 0 for 1: positive anchors, sampled proposals or
            images.

    Returns:
        The losses; in one process, those that were given.
    """
    if num_processes() == 1:
        return losses
    return {name: loss * part_factor(divisor_of(name), loss) for name, loss in losses.items()}
