"""Settings of a detector, teacher or student."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from distune.config.backbones import MOBILENETS, Backbone
from distune.config.base import Settings
from distune.config.pretrained import WITHOUT_EPSILON, canonical, incompatibilities, is_torchvision_name

ThreeChannels = Annotated[list[float], Field(min_length=3, max_length=3)]


class CommonDetectorSettings(Settings):
    """Fields that all families share."""

    weights: str | None = None
    """None starts from scratch. A name of torchvision's such as ``FasterRCNN_ResNet50_FPN_Weights.COCO_V1``, or the
    path of a file: a plain state dict or a distune checkpoint."""
    backbone_weights: str | None = None
    """The same for the backbone alone, such as ``ResNet50_Weights.IMAGENET1K_V2``."""
    classes: list[str] | None = Field(None, min_length=1)
    """The classes that ``weights`` were trained on, in their order, without background: for a plain state dict, which
    names none. A name of torchvision's weights stands for all classes of these."""
    class_aliases: dict[str, str] = {}
    """For a teacher that is used as it comes: what its weights call a class of the data, where the names differ, as
    ``{name in the data: name in the weights}``."""
    input_mean: ThreeChannels | None = None
    """Subtracted from red, green and blue in [0, 1]. None is the family's own: ImageNet's, except for SSD and SSDlite.
    Each model of a pair normalises for itself."""
    input_std: list[Annotated[float, Field(gt=0)]] | None = Field(None, min_length=3, max_length=3)
    """Divides red, green and blue after that."""

    @property
    def learns_masks(self) -> bool:
        """Whether training it needs the outlines of objects."""
        return False

    def with_weights(self, weights: str | None) -> Self:
        """The same detector with other weights, such as those of a checkpoint that was made with these settings."""
        return self.model_copy(update={"weights": weights, "backbone_weights": None, "classes": None})

    @model_validator(mode="after")
    def _weights_fit(self) -> Self:
        if self.weights is None and (self.classes is not None or self.class_aliases):
            raise ValueError("classes and class_aliases are about weights, but there are none")
        missing = [] if self.weights is None else incompatibilities(self.weights, self.model_dump())
        if missing:
            raise ValueError(f"{self.weights} needs {', '.join(missing)}")
        return self


class PyramidDetectorSettings(CommonDetectorSettings):
    """Fields of the families whose neck is a feature pyramid."""

    backbone: Backbone
    """torchvision's name of a ResNet, ResNeXt, Wide ResNet, RegNet or MobileNetV3; ``resnet10``: one block per stage,
    small enough for a CPU; or ``timm/<model>``, which needs the package timm (extra ``timm``)."""
    fpn_channels: int = Field(256, ge=8)
    """Channels of the neck's maps."""
    norm: Literal["batch", "frozen", "group", "own"] = "batch"
    """Normalisation of the backbone. ``frozen`` only makes sense with pretrained weights. ``own`` leaves the backbone's
    as it is, for those of timm that have no batch normalisation."""
    norm_eps: float | None = Field(None, ge=0)
    """Added to the variance by the backbone's normalisation. None is 1e-5, but 0 with ``frozen`` for those weights that
    torchvision runs so (``..._ResNet50_FPN_Weights.COCO_V1``)."""
    trainable_stages: int = Field(5, ge=0, le=5)
    """How many stages of the backbone are trained, counted from the last; 5 trains all."""
    anchor_scale: float = Field(1.0, gt=0)
    """Multiplies torchvision's anchor sizes. Small images want less than 1."""

    @property
    def epsilon(self) -> float | None:
        """What ``norm_eps`` means; None where the backbone keeps its own."""
        if self.norm == "own" or self.norm_eps is not None:
            return self.norm_eps
        is_without = self.norm == "frozen" and self.weights is not None and canonical(self.weights) in WITHOUT_EPSILON
        return 0.0 if is_without else 1e-5

    def with_weights(self, weights: str | None) -> Self:
        """See ``CommonDetectorSettings.with_weights``; what followed from the weights stays as it was."""
        return super().with_weights(weights).model_copy(update={"norm_eps": self.epsilon})

    @model_validator(mode="after")
    def _epsilon_acts(self) -> Self:
        if self.norm == "own" and self.norm_eps is not None:
            raise ValueError("norm_eps must be left out with norm: own")
        if self.norm_eps == 0 and self.norm != "frozen":
            raise ValueError("norm_eps must be more than 0 unless norm is frozen")
        return self


class TwoStageSettings(PyramidDetectorSettings):
    """Fields of the families with two stages."""

    head: Literal["v1", "v2"] = "v1"
    """``v1``: one convolution before proposals, two fully connected layers in the box head. ``v2``: as torchvision's
    detectors of that name, two convolutions before proposals, four normalised ones and one fully connected layer in the
    box head, and a normalised neck."""
    levels: Literal["all", "last"] = "all"
    """``all``: maps of strides 4 to 64 with anchors of one size each. ``last``: as torchvision's MobileNet detectors,
    maps of strides 32 and 64 alone with anchors of all sizes; only with a MobileNetV3."""
    box_head_channels: int = Field(1024, ge=16)
    """Width of the fully connected layers of the box head."""
    proposals_per_image: int = Field(512, ge=8)
    """How many proposals per image the box head is trained on."""
    evaluated_proposals: int = Field(1000, ge=1)
    """How many proposals per image and level are looked at in evaluation, before and after overlapping ones are left
    out. torchvision's ``MobileNet_V3_Large_320_FPN`` has 150."""
    min_proposal_score: float = Field(0.0, ge=0, lt=1)
    """Proposals that score less are left out, in training and evaluation. torchvision's MobileNet detectors have
    0.05."""

    @property
    def prediction_sites(self) -> str:
        """Where the head predicts, and which scores it gives. Only heads with equal prediction sites can be compared."""
        return "proposals (softmax)"

    @model_validator(mode="after")
    def _levels_exist(self) -> Self:
        if self.levels == "last" and self.backbone not in MOBILENETS:
            raise ValueError(f"levels: last needs one of the backbones {', '.join(MOBILENETS)}")
        return self


class FasterRcnnSettings(TwoStageSettings):
    """Faster R-CNN with a feature pyramid (two stages, softmax head)."""

    family: Literal["fasterrcnn"]


class MaskRcnnSettings(TwoStageSettings):
    """Mask R-CNN with a feature pyramid: Faster R-CNN that also learns the outlines of objects."""

    family: Literal["maskrcnn"]
    mask_head_channels: int = Field(256, ge=8)
    """Width of the four convolutions of the mask head, and of its upsampling."""

    @property
    def learns_masks(self) -> bool:
        """Whether training it needs the outlines of objects."""
        return True


class RetinaNetSettings(PyramidDetectorSettings):
    """RetinaNet (one stage, sigmoid head)."""

    family: Literal["retinanet"]
    head: Literal["v1", "v2"] = "v1"
    """``v2``: as torchvision's detector of that name, a head normalised in groups that learns boxes by their overlap
    (GIoU), and coarse maps made from the backbone instead of the neck."""

    @property
    def prediction_sites(self) -> str:
        """Where the head predicts, and which scores it gives. Only heads with equal prediction sites can be compared."""
        return f"RetinaNet's anchors times {self.anchor_scale:g} (sigmoid)"


class FcosSettings(PyramidDetectorSettings):
    """FCOS (one stage, sigmoid head, no anchors but the cells of the maps)."""

    family: Literal["fcos"]
    fpn_channels: int = Field(256, ge=64, multiple_of=32)
    """Channels of the neck's maps; the head normalises them in 32 groups."""
    anchor_scale: float = Field(1.0, gt=0)
    """Multiplies the sizes of objects that each level is responsible for. Small images want less than 1."""

    @property
    def prediction_sites(self) -> str:
        """Where the head predicts, and which scores it gives. Only heads with equal prediction sites can be compared."""
        return f"FCOS's cells for sizes times {self.anchor_scale:g} (sigmoid)"


class SsdSettings(CommonDetectorSettings):
    """SSD (one stage, softmax head)."""

    family: Literal["ssd"]
    backbone: Literal["vgg16"] = "vgg16"
    trainable_stages: int = Field(5, ge=0, le=5)
    """How many of VGG's five stages are trained, counted from the last."""
    input_size_px: int = Field(300, ge=64)
    """Images are resized to a square of this side. Weights of SSD300 need at least 268: below that, the coarsest maps
    would have no cell and are left out."""

    @property
    def prediction_sites(self) -> str:
        """Where the head predicts, and which scores it gives. Only heads with equal prediction sites can be compared."""
        return f"SSD's anchors on {self.input_size_px} px (softmax)"


class SsdliteSettings(CommonDetectorSettings):
    """SSDlite: SSD of depthwise convolutions, for devices (one stage, softmax head)."""

    family: Literal["ssdlite"]
    backbone: Literal["mobilenet_v3_large", "mobilenet_v3_small"] = "mobilenet_v3_large"
    reduce_tail: bool = True
    """Half as many channels in the backbone's last stage, as in torchvision's detection weights. torchvision's weights
    of the backbone alone need false."""
    trainable_stages: int = Field(6, ge=0, le=6)
    """How many of the backbone's six stages are trained, counted from the last."""
    input_size_px: int = Field(320, ge=64)
    """Images are resized to a square of this side."""

    @property
    def prediction_sites(self) -> str:
        """Where the head predicts, and which scores it gives. Only heads with equal prediction sites can be compared."""
        return f"SSDlite's anchors on {self.input_size_px} px (softmax)"

    @model_validator(mode="after")
    def _tail_fits(self) -> Self:
        if self.reduce_tail and is_torchvision_name(self.backbone_weights or ""):
            raise ValueError(f"backbone_weights: {self.backbone_weights} needs reduce_tail: false")
        return self


DetectorSettings = Annotated[
    FasterRcnnSettings | MaskRcnnSettings | RetinaNetSettings | FcosSettings | SsdSettings | SsdliteSettings,
    Field(discriminator="family"),
]
