"""Settings of a detector, teacher or student."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from distune.config.backbones import MOBILENETS, Backbone
from distune.config.base import Settings
from distune.config.pretrained import WITHOUT_EPSILON, canonical, incompatibilities, is_torchvision_name, is_url

ThreeChannels = Annotated[list[float], Field(min_length=3, max_length=3)]


def _check_is_no_url(name: str) -> str:
    if is_url(name):
        raise ValueError("is an address; download the file and give its path, or a name of torchvision's weights")
    return name


WeightsName = Annotated[str, AfterValidator(_check_is_no_url)]


class CommonDetectorSettings(Settings):
    """Settings that all families share."""

    weights: WeightsName | None = None
    """Weights of the whole detector: a name of torchvision such as ``FasterRCNN_ResNet50_FPN_Weights.COCO_V1``, or the
    path of a state dict or a distune checkpoint. null starts from random weights."""
    backbone_weights: WeightsName | None = None
    """Weights of the backbone: a name of torchvision such as ``ResNet50_Weights.IMAGENET1K_V2``, or the path of a file.
    null starts from random weights."""
    classes: list[str] | None = Field(None, min_length=1)
    """The classes that ``weights`` were trained on, in order, without background. Needed for a plain state dict, which
    holds no names. The name of torchvision weights in this list stands for all of their classes."""
    class_aliases: dict[str, str] = {}
    """For a teacher that is not trained here: classes with another name in its weights, as
    ``{name in the data: name in the weights}``."""
    input_mean: ThreeChannels | None = None
    """Mean of red, green and blue in [0, 1], which is subtracted from images. null is the family's default: that of
    ImageNet, except for SSD and SSDlite. Student and teacher may differ."""
    input_std: list[Annotated[float, Field(gt=0)]] | None = Field(None, min_length=3, max_length=3)
    """Standard deviation of red, green and blue, by which images are divided. null is the family's default."""

    @property
    def learns_masks(self) -> bool:
        """True when training needs masks."""
        return False

    @property
    def square_px(self) -> int | None:
        """Side of the square to which the detector resizes images; None where it keeps their aspect ratio."""
        return None

    def from_scratch(self) -> Self:
        """Return these settings without weights: a detector of them has random ones, and nothing is downloaded."""
        return self.model_copy(update={"weights": None, "backbone_weights": None})

    def with_weights(self, weights: str | None) -> Self:
        """Return the same detector with other weights, such as those of a checkpoint made with these settings."""
        return self.model_copy(update={"weights": weights, "backbone_weights": None, "classes": None})

    @model_validator(mode="after")
    def _weights_fit(self) -> Self:
        if self.weights is None and (self.classes is not None or self.class_aliases):
            raise ValueError("classes and class_aliases describe weights, but weights is null")
        missing = [] if self.weights is None else incompatibilities(self.weights, self.model_dump())
        if missing:
            raise ValueError(f"{self.weights} needs {', '.join(missing)}")
        return self


class PyramidDetectorSettings(CommonDetectorSettings):
    """Settings of the families with a feature pyramid."""

    backbone: Backbone
    """The backbone: the name of a ResNet, ResNeXt, Wide ResNet, RegNet, MobileNetV2 or MobileNetV3 in torchvision;
    one of the ResNets that are small enough for a CPU, ``resnet10`` (one block per stage), ``resnet10_025`` (a quarter
    of its channels) or ``resnet18_050`` (half the channels of ResNet-18); or ``timm/<model>``, which needs the package
    timm (extra ``timm``)."""
    fpn_channels: int = Field(256, ge=8)
    """Channels of the feature maps of the neck."""
    norm: Literal["batch", "frozen", "group", "own"] = "batch"
    """Normalization in the backbone: batch norm; ``frozen`` batch norm, for pretrained weights; group norm; or ``own``,
    which keeps that of the backbone, for timm models without batch norm."""
    norm_eps: float | None = Field(None, ge=0)
    """Epsilon of the normalization in the backbone. null is that of the weights where it is known: their distune
    checkpoint or checkpoint of torchvision's training script tells it, and it is 0 for the weights that torchvision
    runs with 0 (``..._ResNet50_FPN_Weights.COCO_V1`` with ``norm: frozen``). Else null is 1e-5, but detectors that were
    fine-tuned from those weights have 0. ``backbone_weights`` never change it: set the epsilon that their classifier
    was trained with, such as 0.001 for torchvision's MobileNetV3 and timm's ``tf_efficientnet...``; a warning names it
    where it is another than 1e-5."""
    trainable_stages: int = Field(5, ge=0, le=5)
    """Number of stages of the backbone that are trained, counted from the last; 5 trains all."""
    anchor_scale: float = Field(1.0, gt=0)
    """Factor of torchvision's anchor sizes. Use less than 1 for small images."""

    @property
    def epsilon(self) -> float | None:
        """The epsilon of the normalization; None where the backbone keeps its own."""
        if self.norm == "own" or self.norm_eps is not None:
            return self.norm_eps
        is_without = self.norm == "frozen" and self.weights is not None and canonical(self.weights) in WITHOUT_EPSILON
        return 0.0 if is_without else 1e-5

    def with_weights(self, weights: str | None) -> Self:
        """Return the same detector with other weights and the same epsilon, unless their file tells another one."""
        other = super().with_weights(weights)
        is_known = weights is None or self.norm_eps is not None or self.epsilon == 0
        return other.model_copy(update={"norm_eps": self.epsilon}) if is_known else other

    @model_validator(mode="after")
    def _epsilon_has_an_effect(self) -> Self:
        if self.norm == "own" and self.norm_eps is not None:
            raise ValueError("norm_eps has no effect with norm: own; remove it")
        if self.norm_eps == 0 and self.norm != "frozen":
            raise ValueError("norm_eps must be more than 0 unless norm is frozen")
        return self


class TwoStageSettings(PyramidDetectorSettings):
    """Settings of the families with two stages."""

    head: Literal["v1", "v2"] = "v1"
    """``v1``: one convolution in the RPN, two fully connected layers in the box head. ``v2``, as in torchvision's
    ``..._fpn_v2`` detectors: two convolutions in the RPN, four convolutions with batch norm and one fully connected
    layer in the box head, and batch norm in the neck."""
    levels: Literal["all", "last"] = "all"
    """``all``: feature maps of strides 4 to 64, with anchors of one size each. ``last``, as in torchvision's MobileNet
    detectors: only feature maps of strides 32 and 64, with anchors of all sizes; only with a MobileNet backbone."""
    box_head_channels: int = Field(1024, ge=16)
    """Output features of each fully connected layer of the box head."""
    proposals_per_image: int = Field(512, ge=8)
    """Number of proposals per image that the box head is trained on."""
    evaluated_proposals: int = Field(1000, ge=1)
    """Number of proposals in evaluation, before non-maximum suppression (per image and level) and after it (per image).
    torchvision's ``MobileNet_V3_Large_320_FPN`` has 150."""
    min_proposal_score: float = Field(0.0, ge=0, lt=1)
    """Proposals with a lower score are removed, in training and evaluation. torchvision's MobileNet detectors have
    0.05."""

    @property
    def prediction_sites(self) -> str:
        """The anchors or proposals of the head and the kind of its scores. Heads can be compared where it is equal."""
        return "proposals (softmax)"

    @model_validator(mode="after")
    def _levels_exist(self) -> Self:
        if self.levels == "last" and self.backbone not in MOBILENETS:
            raise ValueError(f"levels: last needs one of the backbones {', '.join(MOBILENETS)}")
        return self


class FasterRcnnSettings(TwoStageSettings):
    """Faster R-CNN with a feature pyramid (two stages, softmax head)."""

    family: Literal["fasterrcnn"] = "fasterrcnn"


class MaskRcnnSettings(TwoStageSettings):
    """Mask R-CNN with a feature pyramid: Faster R-CNN with a mask head."""

    family: Literal["maskrcnn"] = "maskrcnn"
    mask_head_channels: int = Field(256, ge=8)
    """Channels of the four convolutions of the mask head, and of its upsampling."""

    @property
    def learns_masks(self) -> bool:
        """True when training needs masks."""
        return True


class RetinaNetSettings(PyramidDetectorSettings):
    """RetinaNet (one stage, sigmoid head)."""

    family: Literal["retinanet"] = "retinanet"
    head: Literal["v1", "v2"] = "v2"
    """``v2``, as in torchvision's ``retinanet_resnet50_fpn_v2``: group norm in the head, GIoU loss for boxes, and the
    feature maps of strides 64 and 128 computed from the last map of the backbone. They are computed from that of the
    neck where the backbone's last stage has ``fpn_channels`` channels, as torchvision decides it by the number of
    channels, and with ``v1``, which is that of ``retinanet_resnet50_fpn``."""

    @property
    def prediction_sites(self) -> str:
        """The anchors or proposals of the head and the kind of its scores. Heads can be compared where it is equal."""
        return f"RetinaNet's anchors times {self.anchor_scale:g} (sigmoid)"


_FCOS_SCALE_STEP = 0.25
"""Half of the side of the smallest cell is 4 px, times the scale."""


class FcosSettings(PyramidDetectorSettings):
    """FCOS (one stage, sigmoid head, no anchors)."""

    family: Literal["fcos"] = "fcos"
    fpn_channels: int = Field(256, ge=64, multiple_of=32)
    """Channels of the feature maps of the neck; the head has group norm with 32 groups."""
    anchor_scale: float = Field(1.0, gt=0)
    """Factor of the object sizes that each level detects, a multiple of 0.25. Use less than 1 for small images."""

    @model_validator(mode="after")
    def _levels_have_no_gaps(self) -> Self:
        quarters = self.anchor_scale / _FCOS_SCALE_STEP
        if quarters != round(quarters):
            raise ValueError(
                f"anchor_scale = {self.anchor_scale:g} must be a multiple of {_FCOS_SCALE_STEP} with family: fcos: "
                "torchvision rounds half of the side of a cell, 4 to 64 px times anchor_scale, to whole pixels, and "
                "objects of some sizes would belong to no level"
            )
        return self

    @property
    def prediction_sites(self) -> str:
        """The anchors or proposals of the head and the kind of its scores. Heads can be compared where it is equal."""
        return f"FCOS's cells for sizes times {self.anchor_scale:g} (sigmoid)"


class SsdSettings(CommonDetectorSettings):
    """SSD (one stage, softmax head)."""

    family: Literal["ssd"] = "ssd"
    backbone: Literal["vgg16"] = "vgg16"
    """The backbone."""
    trainable_stages: int = Field(5, ge=0, le=5)
    """Number of the five stages of the backbone that are trained, counted from the last."""
    input_size_px: int = Field(300, ge=64)
    """Images are resized to a square with this side in pixels. Weights of SSD300 need at least 268; smaller images have
    fewer feature maps."""

    @property
    def prediction_sites(self) -> str:
        """The anchors or proposals of the head and the kind of its scores. Heads can be compared where it is equal."""
        return f"SSD's anchors on {self.input_size_px} px (softmax)"

    @property
    def square_px(self) -> int:
        """Side of the square to which the detector resizes images."""
        return self.input_size_px


class SsdliteSettings(CommonDetectorSettings):
    """SSDlite: SSD with depthwise convolutions, for mobile devices (one stage, softmax head)."""

    family: Literal["ssdlite"] = "ssdlite"
    backbone: Literal["mobilenet_v3_large", "mobilenet_v3_small"] = "mobilenet_v3_large"
    """The backbone."""
    reduce_tail: bool = True
    """Halve the channels of the last stage of the backbone, as in torchvision's weights of detectors. torchvision's
    weights of the backbone need false."""
    trainable_stages: int = Field(6, ge=0, le=6)
    """Number of the six stages of the backbone that are trained, counted from the last."""
    input_size_px: int = Field(320, ge=64)
    """Images are resized to a square with this side in pixels."""

    @property
    def prediction_sites(self) -> str:
        """The anchors or proposals of the head and the kind of its scores. Heads can be compared where it is equal."""
        return f"SSDlite's anchors on {self.input_size_px} px (softmax)"

    @property
    def square_px(self) -> int:
        """Side of the square to which the detector resizes images."""
        return self.input_size_px

    @model_validator(mode="after")
    def _tail_fits(self) -> Self:
        if self.reduce_tail and is_torchvision_name(self.backbone_weights or ""):
            raise ValueError(f"backbone_weights: {self.backbone_weights} needs reduce_tail: false")
        return self


DetectorSettings = Annotated[
    FasterRcnnSettings | MaskRcnnSettings | RetinaNetSettings | FcosSettings | SsdSettings | SsdliteSettings,
    Field(discriminator="family"),
]
