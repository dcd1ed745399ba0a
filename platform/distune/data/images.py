"""Decodes image files with Pillow (torchvision's own decoders are deprecated since 0.29).

Images are turned as their EXIF orientation says, as viewers and annotation tools show them. Pillow turns those of TIFF
files itself when it loads them, so they are as if they had been stored upright. Pixels of more than 8 bits
are scaled linearly: the same range of a whole data set becomes 0 to 255.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps
from torch import Tensor
from torchvision.transforms.v2 import functional

from distune.data.dataset import ImageError
from distune.data.regular_file import read_regular

ValueRange = tuple[float, float]
"""Lowest and highest pixel value."""

MAX_PIXELS = 80_000_000
"""Pixels of an image: 240 MB as RGB of 8 bits. Pillow warns a little above."""
_TOO_LARGE = "more than 80 million are not read; cut it into tiles"
_BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)
_TURNED_BY_PILLOW = "TIFF"
"""The format whose images Pillow turns when it loads them. It also states their size after the turn."""
_DARK_16_BITS = 128
"""Colors of 16 bits whose highest byte never reaches this lose too much when Pillow reduces them to 8 bits."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ImageFile:
    """Header and hash of an image file.

    Attributes:
        width, height: as stored, in pixels; of a TIFF file as Pillow turns it.
        orientation: EXIF, 1 to 8; 1 where there is none, and for a TIFF file.
        digest: of the content, 32 hexadecimal digits; equal for copies.
        value_range: of the pixels of a gray image with more than 8 bits, 0 to 255 where whole numbers lie in it; None
            for other images.
    """

    width: int
    height: int
    orientation: int
    digest: str
    value_range: ValueRange | None

    @property
    def stored_size(self) -> tuple[int, int]:
        """Width and height before the image is turned."""
        return self.width, self.height

    @property
    def shown_size(self) -> tuple[int, int]:
        """Width and height after the image is turned."""
        return (self.height, self.width) if self.orientation > 4 else self.stored_size


def inspect_image(path: Path, *, file: str) -> ImageFile:
    """Read the header of a file and the hash of its content; pixels only where they have more than 8 bits.

    Args:
        path: the file.
        file: its name in messages.

    Returns:
        What is known of it.

    Raises:
        ImageError: the file is missing or not an image, or its values cannot be brought to 8 bits.
    """
    try:
        content = read_regular(path)
        with Image.open(io.BytesIO(content)) as image:
            width, height = image.size
            _check_size(image, file)
            return ImageFile(
                width=width,
                height=height,
                orientation=_orientation(image),
                digest=hashlib.blake2b(content, digest_size=16).hexdigest(),
                value_range=_value_range(image, file),
            )
    except (MemoryError, ImageError):
        raise
    except _BOMBS as error:
        raise ImageError(file, f"{_TOO_LARGE} ({_reason(error, path)})") from None
    except Exception as error:  # Pillow raises many kinds on damaged files, some undocumented
        raise ImageError(file, f"cannot be decoded ({_reason(error, path)})") from None


def read_image(path: Path, *, file: str, is_turned: bool = False, value_range: ValueRange | None = None) -> Tensor:
    """Read the pixels of a file.

    Args:
        path: the file.
        file: its name in messages.
        is_turned: turn the image as its EXIF orientation says; otherwise the pixels are as stored.
        value_range: what becomes 0 and 255 in gray images of more than 8 bits; None is the range of this image.

    Returns:
        uint8 (3, H, W) RGB. Gray images are repeated, transparency is dropped.

    Raises:
        ImageError: the file is missing, truncated, not an image, or too large.
    """
    try:
        with Image.open(io.BytesIO(read_regular(path))) as image:
            _check_size(image, file)
            shown = ImageOps.exif_transpose(image) if is_turned and image.format != _TURNED_BY_PILLOW else image
            pixels: Tensor = functional.pil_to_tensor(_to_rgb(shown, value_range))
    except (MemoryError, ImageError):
        raise
    except _BOMBS as error:
        raise ImageError(file, f"{_TOO_LARGE} ({_reason(error, path)})") from None
    except Exception as error:  # as above
        raise ImageError(file, f"cannot be decoded ({_reason(error, path)})") from None
    return pixels.contiguous()


def _check_size(image: Image.Image, file: str) -> None:
    """Refuse a file of few bytes that takes gigabytes when it is decoded. Nothing is decoded here."""
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ImageError(file, f"has {width} x {height} pixels, and {_TOO_LARGE}")


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation that is left to do after Pillow has loaded the image.

    In a PNG only EXIF data before the pixels counts, so that nothing is decoded.
    """
    if image.format == _TURNED_BY_PILLOW:
        return 1
    if image.format == "PNG" and "exif" not in image.info:
        return 1
    orientation = image.getexif().get(ExifTags.Base.Orientation)
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1


def _value_range(image: Image.Image, file: str) -> ValueRange | None:
    if _is_deep_gray(image):
        pixels_HW = np.asarray(image)
        if not np.isfinite(pixels_HW).all():
            raise ImageError(file, "has pixels that are not finite numbers")
        low, high = float(pixels_HW.min()), float(pixels_HW.max())
        is_8_bits = pixels_HW.dtype.kind != "f" and low >= 0 and 1 < high <= 255
        return (0.0, 255.0) if is_8_bits else (low, high)
    if image.mode == "RGB" and _has_16_bits(image):
        brightest = int(np.asarray(image).max())
        if brightest < _DARK_16_BITS:
            raise ImageError(
                file,
                f"has colors of 16 bits, of which the upper 8 are read, and these only reach {brightest} of 255; "
                "convert it to 8 bits",
            )
    return None


def _has_16_bits(image: Image.Image) -> bool:
    tiles = getattr(image, "tile", [])  # of images in files: codec, place, offset, and the mode of the stored pixels
    return any(";16" in str(tile[3]) for tile in tiles)


def _is_deep_gray(image: Image.Image) -> bool:
    return image.mode.startswith(("I", "F"))


def _to_rgb(image: Image.Image, value_range: ValueRange | None) -> Image.Image:
    if _is_deep_gray(image):
        pixels_HW = np.asarray(image).astype(np.float64)
        low, high = (pixels_HW.min(), pixels_HW.max()) if value_range is None else value_range
        scaled_HW = (pixels_HW - low) * (255.0 / (high - low) if high > low else 0.0)
        return Image.fromarray(scaled_HW.round().clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode == "P" and "transparency" in image.info:
        return image.convert("RGBA").convert("RGB")
    return image.convert("RGB")


def _reason(error: Exception, path: Path) -> str:
    """Return the message of an error on one line, without the path, which the caller adds."""
    text = " ".join(str(error).replace(f"{str(path)!r}", "the file").replace(str(path), "the file").split())
    return text or type(error).__name__
