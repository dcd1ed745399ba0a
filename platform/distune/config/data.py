"""Settings of the data: where the images are, and how they are resized and augmented."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from distune.config.base import Settings

Share = Annotated[float, Field(ge=0, le=1)]


class AugmentationSettings(Settings):
    """What happens to a training image. Evaluation never augments."""

    horizontal_flip: Share = 0.5
    """Probability of a mirrored image."""
    vertical_flip: Share = 0.0
    """Probability of an image turned upside down."""
    color_jitter: Share = 0.0
    """Strength of random brightness, contrast and saturation; 0 is off."""


class ImageSettings(Settings):
    """Fields that all kinds of data share."""

    min_size_px: int = Field(800, ge=32)
    """The shorter side of an image after resizing, as in torchvision and detectron2."""
    max_size_px: int = Field(1333, ge=32)
    """The longer side is never longer than this; the aspect ratio is kept."""
    augmentation: AugmentationSettings = AugmentationSettings()


class ShapesData(ImageSettings):
    """Generated images of shapes, with tagged noise. The same settings give the same images on every machine."""

    kind: Literal["shapes"]
    min_size_px: int = Field(96, ge=32)
    max_size_px: int = Field(96, ge=32)
    image_size_px: int = Field(96, ge=48, le=1024)
    """Images are generated square."""
    num_train: int = Field(400, ge=1)
    num_search: int = Field(100, ge=1)
    num_test: int = Field(100, ge=0)
    num_classes: int = Field(4, ge=1, le=6)
    max_objects: int = Field(5, ge=1, le=20)
    """An image holds 1 to this many objects."""
    clutter: Share = 1.0
    """How busy the background is, and how little objects stand out from it."""
    blurred_share: Share = 0.2
    """Share of the objects that are blurred, and tagged so."""
    occluded_share: Share = 0.2
    """Share of the objects that are half covered, and tagged so."""
    small_share: Share = 0.25
    """Share of the objects that are small, and tagged so."""
    seed: int = Field(0, ge=0)


class VocData(ImageSettings):
    """A folder in the layout of Pascal VOC: ``Annotations``, ``ImageSets/Main``, ``JPEGImages``."""

    kind: Literal["voc"]
    root: str | None = None
    """The folder. Usually given at launch: ``--set data.root=PATH``."""
    train_set: str = "train"
    """A name in ``ImageSets/Main``. Several are joined by a plus sign."""
    search_set: str | None = None
    """What trials are scored on; a share of the training set when missing."""
    test_set: str | None = None
    """What only confirmed students are scored on."""
    search_share: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """The share of the training images taken as search split when ``search_set`` is missing."""
    classes: Annotated[list[str], Field(min_length=1)] | None = None
    """Class names; all that the annotations name, sorted, when missing."""


class CocoSplitSettings(Settings):
    """One split of a COCO data set, below the root."""

    images: str
    """Folder of the images."""
    annotations: str
    """The json file of the annotations."""


class CocoData(ImageSettings):
    """Images and annotations in COCO's json format."""

    kind: Literal["coco"]
    root: str | None = None
    """The folder that the paths of the splits start from. Usually given at launch: ``--set data.root=PATH``."""
    train: CocoSplitSettings
    search: CocoSplitSettings | None = None
    """What trials are scored on; a share of the training set when missing."""
    test: CocoSplitSettings | None = None
    """What only confirmed students are scored on."""
    search_share: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """The share of the training images taken as search split when ``search`` is missing."""


DataSettings = Annotated[ShapesData | VocData | CocoData, Field(discriminator="kind")]
