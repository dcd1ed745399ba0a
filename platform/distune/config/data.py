"""Settings of the data: the images, and how they are resized and augmented."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from distune.config.base import Settings
from distune.config.paths import merge

Fraction = Annotated[float, Field(ge=0, le=1)]
Pixels = Annotated[int, Field(ge=32)]
Scale = Annotated[float, Field(ge=0.05, le=4.0)]


_AUGMENTATION = "data.augmentation."


class AugmentationSettings(Settings):
    """Random changes of training images. Evaluation never augments."""

    horizontal_flip: Fraction = 0.5
    """Probability that an image is flipped left to right."""
    vertical_flip: Fraction = 0.0
    """Probability that an image is flipped upside down."""
    color_jitter: Fraction = 0.0
    """Strength of random changes of brightness, contrast and saturation, between 0 and 1; 0 is none."""
    photometric_distortion: Fraction = 0.0
    """Probability of each distortion of SSD: brightness, contrast, saturation, hue, and another order of the color
    channels. torchvision's preset ``ssd`` has 0.5, its presets ``hflip``, ``lsj`` and ``multiscale`` and detectron2
    have none."""
    zoom_out: Fraction = 0.0
    """Probability that an image is placed on a canvas of 1 to 4 times its sides, so that objects become smaller.
    torchvision's preset ``ssd`` has 0.5, all others and detectron2 none."""
    iou_crop: bool = False
    """Crop images as SSD does: at random, with a minimum overlap with an object that is drawn. Boxes whose center is
    outside are removed. torchvision's presets ``ssd`` and ``ssdlite`` do, all others and detectron2 do not."""
    min_sizes_px: Annotated[list[Pixels], Field(min_length=1)] | None = None
    """Multi-scale training: the shorter side of each image is drawn from this list, with the limit ``max_size_px``;
    evaluation keeps ``min_size_px``. null always takes ``min_size_px``, as torchvision's preset ``hflip`` does. Its
    preset ``multiscale`` has 480, 512, ..., 800, and detectron2's recipes for COCO have 640, 672, ..., 800."""
    scale_jitter: Annotated[list[Scale], Field(min_length=2, max_length=2)] | None = None
    """Large-scale jitter: the lowest and the highest factor. The image is resized to a random factor of the largest
    size that fits into a square of ``crop_size_px``, then cropped or padded to that square at a random place;
    evaluation keeps ``min_size_px``. null is none, the default of torchvision and detectron2. torchvision's preset
    ``lsj`` and detectron2's recipes with large-scale jitter have 0.1 and 2.0."""
    crop_size_px: Pixels | None = None
    """Side of the square of ``scale_jitter`` in pixels; null is ``max_size_px``. torchvision and detectron2 have
    1024."""

    @property
    def draws_sizes(self) -> bool:
        """True when training images have other sizes than ``min_size_px`` and ``max_size_px`` give."""
        return self.min_sizes_px is not None or self.scale_jitter is not None

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        sizes, jitter, crop = self.min_sizes_px, self.scale_jitter, self.crop_size_px
        if sizes is not None and jitter is not None:
            raise ValueError(
                f"{_AUGMENTATION}min_sizes_px = {sizes}\tmust be null with scale_jitter: both draw the size of an image"
            )
        if jitter is not None and jitter[0] > jitter[1]:
            raise ValueError(f"{_AUGMENTATION}scale_jitter = {jitter}\tmust have the lower factor first")
        if crop is not None and jitter is None:
            raise ValueError(f"{_AUGMENTATION}crop_size_px = {crop}\thas no effect without scale_jitter; remove it")
        return self


class ImageSettings(Settings):
    """Settings that all kinds of data share."""

    min_size_px: int = Field(800, ge=32)
    """The shorter side of a resized image in pixels, as ``min_size`` of torchvision."""
    max_size_px: int = Field(1333, ge=32)
    """The longer side of a resized image is at most this many pixels; the aspect ratio is kept."""
    augmentation: AugmentationSettings = AugmentationSettings()
    """Random changes of training images."""
    aspect_ratio_group_factor: Annotated[int, Field(ge=0, le=8)] | None = None
    """Form training batches of images of similar aspect ratios, which saves padding, as torchvision's option of this
    name: 0 makes two groups, upright images and others; k makes 2 k + 2 groups between the ratios 1:2 and 2:1. null
    mixes all images. torchvision's references have 3, detectron2 has two groups."""
    repeat_threshold: Annotated[float, Field(gt=0, le=1)] | None = None
    """Show images of rare classes several times per epoch, as LVIS does (Gupta et al., CVPR 2019, arXiv 1908.03195): a
    class that less than this fraction of the training images have is repeated by the square root of the threshold over
    its fraction. An epoch becomes longer by the repeats. null repeats none, the default of detectron2; its recipes for
    LVIS have 0.001."""


def smallest_side(images: ImageSettings) -> int:
    """Return the smallest limit of the longer side of a training image, in pixels."""
    augmentation = images.augmentation
    if augmentation.scale_jitter is None:
        return images.max_size_px
    return min(
        images.max_size_px, int(augmentation.scale_jitter[0] * (augmentation.crop_size_px or images.max_size_px))
    )


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
    train_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Fraction of the training images that are used, for studies of few labels; the others are left out. They are
    chosen by a hash of their names, so that a smaller fraction is part of a larger one. The held-out splits and a
    teacher with given weights do not depend on it; a teacher that is trained sees as few images as its students."""
    keep_empty_images: bool = True
    """Train on images without boxes, too; crowd and difficult boxes do not count. torchvision's references and
    detectron2 leave such images out of COCO. The search and the test split keep them."""

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
