"""Settings of the data: the images, and how they are resized and augmented."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

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
    copies: int | None = Field(None, ge=1)
    """Number of augmented copies of each image in the training of students: epoch ``copies + 1`` shows the batches of
    the first epoch again, in another order, and so on. The teacher's maps of repeated batches are kept
    (``resources.teacher_cache``), which saves its forward passes. This changes training: images are augmented in fewer
    ways and stand in the same batches, and an incomplete last batch of these epochs is never seen. null always draws
    anew."""


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

    @property
    def has_test(self) -> bool:
        """True when there is a test split."""
        return self.num_test > 0


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

    @property
    def has_test(self) -> bool:
        """True when there is a test split."""
        return self.num_test > 0

    @model_validator(mode="before")
    @classmethod
    def _mirror_nothing(cls, values: Any) -> Any:
        return merge({"augmentation": {"horizontal_flip": 0.0}}, values) if isinstance(values, dict) else values


class FileData(ImageSettings):
    """Settings that all data in a folder share."""

    root: str | None = None
    """The folder that all other paths start from. Usually given on the command line: ``--set data.root=PATH``."""
    classes: Annotated[list[str], Field(min_length=1)] | None = None
    """Names of the classes, without background, in the order of their labels. Boxes of other classes are left out. null
    takes all classes of the data."""
    search_share: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Fraction of the training images that are held out for scoring trials when there is no search split."""
    test_share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Fraction of the training images that are held out for the final test when there is no test split; 0 is none."""
    split_seed: int = Field(0, ge=0)
    """Seed of the choice of held-out images. Copies of an image are never divided."""

    @property
    def has_test(self) -> bool:
        """True when there is a test split."""
        return self.test_share > 0 or any(getattr(self, name, None) is not None for name in ("test", "test_set"))

    @model_validator(mode="after")
    def _leave_training_images(self) -> Self:
        if self.search_share + self.test_share >= 1:
            raise ValueError("search_share and test_share together must be less than 1")
        return self


class VocData(FileData):
    """Images with an XML file each, in the format of Pascal VOC and LabelImg."""

    kind: Literal["voc"] = "voc"
    train_set: str = "train"
    """Training images: the name of a list in ``ImageSets/Main``, or ``*`` for all images with an XML file. A folder may
    stand before it, such as ``VOC2007/trainval`` or ``train/*``; it is above or below ``images`` and ``annotations``.
    Several are joined by plus signs."""
    search_set: str | None = None
    """Images that trials are scored on, as in ``train_set``; null holds out some of the training images."""
    test_set: str | None = None
    """Images for the final test, which only confirmed students are scored on, as in ``train_set``; null is none, unless
    ``test_share`` holds out some."""
    images: str = "JPEGImages"
    """Folder of the images; ``.`` is the folder itself."""
    annotations: str = "Annotations"
    """Folder of the XML files; ``.`` is the folder itself."""


class CocoSplitSettings(Settings):
    """One split of a COCO data set. Both paths start from ``data.root``."""

    images: str
    """Folder of the images."""
    annotations: str
    """JSON file of the annotations."""


class CocoData(FileData):
    """Images with annotations in the JSON format of COCO."""

    kind: Literal["coco"] = "coco"
    train: CocoSplitSettings
    """Training images."""
    search: CocoSplitSettings | None = None
    """Images that trials are scored on; null holds out a fraction of the training images."""
    test: CocoSplitSettings | None = None
    """Images for the final test, which only confirmed students are scored on; null is none, unless ``test_share`` holds
    out some."""


class YoloData(FileData):
    """Images with a text file of labels each, in the format of YOLO. Polygons become their bounding boxes."""

    kind: Literal["yolo"] = "yolo"
    names: str = "data.yaml"
    """File of the names of the class ids: a YAML file with ``names``, or a text file with a name on each line."""
    train: str
    """Training images: a folder, or a text file that lists images. Several are joined by plus signs. The labels of
    ``images/.../1.jpg`` are in ``labels/.../1.txt``, or beside the image where there is no folder ``labels``."""
    search: str | None = None
    """Images that trials are scored on, as in ``train``; null holds out some of the training images."""
    test: str | None = None
    """Images for the final test, which only confirmed students are scored on, as in ``train``; null is none, unless
    ``test_share`` holds out some."""


class CvatData(FileData):
    """Images with annotations in one XML file, as "CVAT for images". Polygons become their bounding boxes."""

    kind: Literal["cvat"] = "cvat"
    annotations: str = "annotations.xml"
    """The XML file."""
    images: str = "images"
    """Folder of the images."""
    train_set: str | None = None
    """Training images: the name of a subset in the file, or several joined by plus signs; null takes all images."""
    search_set: str | None = None
    """Images that trials are scored on, as in ``train_set``; null holds out some of the training images."""
    test_set: str | None = None
    """Images for the final test, which only confirmed students are scored on, as in ``train_set``; null is none, unless
    ``test_share`` holds out some."""

    @model_validator(mode="after")
    def _subsets_differ(self) -> Self:
        if self.train_set is None and (self.search_set is not None or self.test_set is not None):
            raise ValueError("train_set must be given with search_set or test_set: null takes all images")
        return self


class LabelStudioData(FileData):
    """Images with annotations in one JSON file, as Label Studio exports it. Polygons become their bounding boxes."""

    kind: Literal["label_studio"] = "label_studio"
    annotations: str
    """The JSON file."""
    images: str = "."
    """Folder of the images. They are found by their names, in any folder below it."""


GeneratedData = ShapesData | DigitsData
"""Data that is drawn by distune; all other kinds are read from a folder."""

FileDataSettings = VocData | CocoData | YoloData | CvatData | LabelStudioData
"""Data in a folder of the user."""

DataSettings = Annotated[GeneratedData | FileDataSettings, Field(discriminator="kind")]
