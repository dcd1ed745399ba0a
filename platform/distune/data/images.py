"""Decodes image files with Pillow (torchvision's own decoders are deprecated since 0.29)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional

from distune.data.dataset import ImageError


def read_image(path: Path, *, file: str) -> Tensor:
    """Read the pixels of a file as stored: EXIF orientation is not applied, as in torchvision.

    Args:
        path: the file.
        file: its name in messages.

    Returns:
        uint8 (3, H, W) RGB. Gray images are repeated, transparency is dropped, 16 bits are reduced to 8.

    Raises:
        ImageError: the file is missing, truncated, or not an image.
    """
    try:
        with Image.open(path) as image:
            pixels: Tensor = functional.pil_to_tensor(_to_rgb(image))
    except MemoryError:
        raise
    except Exception as error:  # Pillow raises many kinds on damaged files, some undocumented
        raise ImageError(file, f"cannot be decoded ({_reason(error, path)})") from None
    return pixels.contiguous()


def read_size(path: Path, *, file: str) -> tuple[int, int]:
    """Read width and height from the header of a file, without decoding it. Raises ``ImageError``."""
    try:
        with Image.open(path) as image:
            return image.size
    except MemoryError:
        raise
    except Exception as error:  # as above
        raise ImageError(file, f"cannot be decoded ({_reason(error, path)})") from None


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image).clip(0, 65535) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "P" and "transparency" in image.info:
        return image.convert("RGBA").convert("RGB")
    return image.convert("RGB")


def _reason(error: Exception, path: Path) -> str:
    """Return the message of an error on one line, without the path, which the caller adds."""
    text = " ".join(str(error).replace(f"{str(path)!r}", "the file").replace(str(path), "the file").split())
    return text or type(error).__name__
