"""The pair of detectors of a drafted experiment."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Model:
    """A RetinaNet.

    Attributes:
        backbone: name of the backbone.
        fpn_channels: channels of the neck.
        norm: normalization in the backbone.
        weights: ImageNet weights of the backbone; empty for random weights.
    """

    backbone: str
    fpn_channels: int
    norm: str
    weights: str = ""


def choose_pair(*, has_gpu: bool, from_scratch: bool) -> tuple[Model, Model, str]:
    """Return the student and the teacher, and the reason for both in one line."""
    if from_scratch:
        student, teacher = ("resnet18", "resnet50") if has_gpu else ("resnet10", "resnet18")
        channels = (128, 256) if has_gpu else (48, 64)
        return (
            Model(backbone=student, fpn_channels=channels[0], norm="group"),
            Model(backbone=teacher, fpn_channels=channels[1], norm="group"),
            "random weights: everything must be learned from these images",
        )
    if has_gpu:
        return (
            Model(backbone="resnet18", fpn_channels=128, norm="frozen", weights="ResNet18_Weights.IMAGENET1K_V1"),
            Model(backbone="resnet50", fpn_channels=256, norm="frozen", weights="ResNet50_Weights.IMAGENET1K_V2"),
            "ImageNet weights, which torchvision downloads once; distune init --from-scratch does without",
        )
    return (
        Model(
            backbone="mobilenet_v3_small",
            fpn_channels=48,
            norm="frozen",
            weights="MobileNet_V3_Small_Weights.IMAGENET1K_V1",
        ),
        Model(backbone="resnet18", fpn_channels=64, norm="frozen", weights="ResNet18_Weights.IMAGENET1K_V1"),
        "small enough for a CPU; ImageNet weights, which torchvision downloads once; distune init --from-scratch does "
        "without",
    )
