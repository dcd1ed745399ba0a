"""Images of a data set as JPEG in data URIs, for the report page."""

from __future__ import annotations

import base64
import io

from PIL import Image

from distune.data.dataset import DetectionDataset

PICTURE_PX = 480
_CROP_PX = 96
_MARGIN = 0.15
_QUALITY = 75


def picture_uri(dataset: DetectionDataset, index: int) -> str:
    """Return an image whose longer side is at most ``PICTURE_PX``. Raises ``ImageError``."""
    return _jpeg_uri(_image(dataset, index), PICTURE_PX)


def crop_uri(dataset: DetectionDataset, index: int, box: int) -> str:
    """Return the part of an image around a box, with a margin. Raises ``ImageError``."""
    image = _image(dataset, index)
    left, top, right, bottom = (float(each) for each in dataset.annotations(index).boxes_N4[box])
    margin = _MARGIN * max(right - left, bottom - top)
    corners = (
        max(0, int(left - margin)),
        max(0, int(top - margin)),
        min(image.width, int(right + margin) + 1),
        min(image.height, int(bottom + margin) + 1),
    )
    return _jpeg_uri(image.crop(corners), _CROP_PX)


def _image(dataset: DetectionDataset, index: int) -> Image.Image:
    return Image.fromarray(dataset.image(index).permute(1, 2, 0).contiguous().numpy())


def _jpeg_uri(image: Image.Image, longest_px: int) -> str:
    image.thumbnail((longest_px, longest_px))  # never enlarges
    content = io.BytesIO()
    image.save(content, format="JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"
