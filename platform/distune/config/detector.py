"""Settings of a detector, teacher or student."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from distune.config.base import Settings

Backbone = Literal["resnet10", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]


class CommonDetectorSettings(Settings):
    """Fields that all families share."""

    backbone: Backbone
    """A torchvision ResNet, or ``resnet10``: one block per stage, small enough for a CPU."""
    fpn_channels: int = Field(256, ge=8)
    """Channels of the neck's maps."""
    norm: Literal["batch", "frozen", "group"] = "batch"
    """Normalisation of the backbone. ``frozen`` only makes sense with pretrained weights."""
    trainable_stages: int = Field(5, ge=0, le=5)
    """How many stages of the backbone are trained, counted from the last; 5 trains all."""
    anchor_scale: float = Field(1.0, gt=0)
    """Multiplies torchvision's anchor sizes. Small images want less than 1."""
    weights: str | None = None
    """None starts from scratch. A name of torchvision's such as ``FasterRCNN_ResNet50_FPN_Weights.COCO_V1``, or the
    path of a file: a plain state dict or a distune checkpoint."""
    backbone_weights: str | None = None
    """The same for the backbone alone, such as ``ResNet50_Weights.IMAGENET1K_V2``."""


class FasterRcnnSettings(CommonDetectorSettings):
    """Faster R-CNN with a feature pyramid (two stages, softmax head)."""

    family: Literal["fasterrcnn"]
    box_head_channels: int = Field(1024, ge=16)
    """Width of the two fully connected layers of the box head."""
    proposals_per_image: int = Field(512, ge=8)
    """How many proposals per image the box head is trained on."""


class RetinaNetSettings(CommonDetectorSettings):
    """RetinaNet (one stage, sigmoid head)."""

    family: Literal["retinanet"]


DetectorSettings = Annotated[FasterRcnnSettings | RetinaNetSettings, Field(discriminator="family")]
