"""Settings of the data: the images, and how they are resized and augmented."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from distune.config.base import Settings
from distune.config.paths import merge

Fraction = Annotated[float, Field(ge=0, le=1)]


class AugmentationSettings(Settings):
    """Random changes of training images. Evaluation never augments."""

    horizontal_flip: Fraction = 0.5
    """Probability that an image is flipped left to right."""
    vertical_flip: Fraction = 0.0
    """Probability that an image is flipped upside down."""
    color_jitter: Fraction = 0.0
    """Strength of random changes of brightness, contrast and saturation, between 0 and 1; 0 is none."""


class ImageSettings(Settings):
    """Settings that all kinds of data share."""

    min_size_px: int = Field(800, ge=32)
    """The shorter side of a resized image in pixels, as ``min_size`` of torchvision."""
    max_size_px: int = Field(1333, ge=32)
    """The longer side of a resized image is at most this many pixels; the aspect ratio is kept."""
    augmentation: AugmentationSettings = AugmentationSettings()
    """Random changes of training images."""


class ShapesData(ImageSettings):
    """Generated images of shapes. Equal settings give equal images on every machine."""

    kind: Literal["shapes"] = "shapes"
    min_size_px: int = Field(96, ge=32)
    """The shorter side of a resized image in pixels."""
    max_size_px: int = Field(96, ge=32)
    """The longer side of a resized image is at most this many pixels."""
    image_size_px: int = Field(96, ge=48, le=1024)
    """Side of the generated images in pixels; they are square."""
    num_train: int = Field(400, ge=1)
    """Number of training images."""
    num_search: int = Field(100, ge=1)
    """Number of images that trials are scored on."""
    num_test: int = Field(100, ge=0)
    """Number of images for the final test; 0 is no test split."""
    num_classes: int = Field(4, ge=1, le=6)
    """Number of classes, of circle, square, triangle, star, cross and ring."""
    max_objects: int = Field(5, ge=1, le=20)
    """Largest number of objects in an image; the smallest is 1."""
    clutter: Fraction = 1.0
    """Texture of the background, and similarity of the objects' colors to it; 0 is a plain background."""
    blurred_share: Fraction = 0.2
    """Fraction of the objects that are blurred; they have the tag ``blurred``."""
    occluded_share: Fraction = 0.2
    """Fraction of the objects that are half covered; they have the tag ``occluded``."""
    small_share: Fraction = 0.25
    """Fraction of the objects that are small; they have the tag ``small``."""
    seed: int = Field(0, ge=0)
    """Seed of the images."""


class DigitsData(ImageSettings):
    """Handwritten digits on photographs, without download. ``augmentation.horizontal_flip`` defaults to 0."""

    kind: Literal["digits"] = "digits"
    min_size_px: int = Field(64, ge=32)
    """The shorter side of a resized image in pixels."""
    max_size_px: int = Field(64, ge=32)
    """The longer side of a resized image is at most this many pixels."""
    image_size_px: int = Field(64, ge=48, le=1024)
    """Side of the generated images in pixels; they are square."""
    num_train: int = Field(400, ge=1)
    """Number of training images."""
    num_search: int = Field(100, ge=1)
    """Number of images that trials are scored on."""
    num_test: int = Field(100, ge=0)
    """Number of images for the final test; 0 is no test split."""
    num_classes: int = Field(4, ge=1, le=10)
    """Number of classes: the digits from 0 to one less."""
    max_objects: int = Field(3, ge=1, le=20)
    """Largest number of digits in an image; the smallest is 1."""
    blurred_share: Fraction = 0.2
    """Fraction of the digits that are blurred; they have the tag ``blurred``."""
    occluded_share: Fraction = 0.2
    """Fraction of the digits that are half covered; they have the tag ``occluded``."""
    small_share: Fraction = 0.25
    """Fraction of the digits that are small; they have the tag ``small``."""
    seed: int = Field(0, ge=0)
    """Seed of the images."""

    @model_validator(mode="before")
    @classmethod
    def _mirror_nothing(cls, values: Any) -> Any:
        return merge({"augmentation": {"horizontal_flip": 0.0}}, values) if isinstance(values, dict) else values


class VocData(ImageSettings):
    """A folder in the layout of Pascal VOC: ``Annotations``, ``ImageSets/Main``, ``JPEGImages``."""

    kind: Literal["voc"] = "voc"
    root: str | None = None
    """The folder. Usually given on the command line: ``--set data.root=PATH``."""
    train_set: str = "train"
    """Training images: the name of a list in ``ImageSets/Main``, or several joined by plus signs."""
    search_set: str | None = None
    """Images that trials are scored on: a list as in ``train_set``; null holds out some of the training images."""
    test_set: str | None = None
    """Images for the final test, which only confirmed students are scored on: a list as in ``train_set``; null is none.
    """
    search_share: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Fraction of the training images that are held out for scoring trials when ``search_set`` is null."""
    classes: Annotated[list[str], Field(min_length=1)] | None = None
    """Names of the classes, without background; null takes all names in the annotations, sorted."""


class CocoSplitSettings(Settings):
    """One split of a COCO data set. Both paths start from ``data.root``."""

    images: str
    """Folder of the images."""
    annotations: str
    """JSON file of the annotations."""


class CocoData(ImageSettings):
    """Images with annotations in the JSON format of COCO."""

    kind: Literal["coco"] = "coco"
    root: str | None = None
    """The folder that the paths of the splits start from. Usually given on the command line: ``--set data.root=PATH``.
    """
    train: CocoSplitSettings
    """Training images."""
    search: CocoSplitSettings | None = None
    """Images that trials are scored on; null holds out a fraction of the training images."""
    test: CocoSplitSettings | None = None
    """Images for the final test, which only confirmed students are scored on; null is none."""
    search_share: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Fraction of the training images that are held out for scoring trials when ``search`` is null."""


GeneratedData = ShapesData | DigitsData
"""Data that is drawn by distune; all other kinds are read from a folder."""

DataSettings = Annotated[ShapesData | DigitsData | VocData | CocoData, Field(discriminator="kind")]
