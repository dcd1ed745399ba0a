"""The pair of detectors of a drafted experiment."""

from __future__ import annotations

import dataclasses

_RANDOM = "random weights: everything must be learned from these images"
_IMAGENET = "ImageNet weights, which torchvision downloads once; distune init --from-scratch does without"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Model:
    """A RetinaNet.

    Attributes:
        backbone: name of the backbone.
        fpn_channels: channels of the neck.
        norm: normalization in the backbone.
        weights: ImageNet weights of the backbone; empty for random weights.
        norm_eps: epsilon that the weights were trained with; None for 1e-5.
    """

    backbone: str
    fpn_channels: int
    norm: str
    weights: str = ""
    norm_eps: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pair:
    """A student and its teacher.

    Attributes:
        student: the student.
        teacher: the teacher.
        reason: for both, in one line.
        learning_rate: of both, with AdamW.
        learning_rate_reason: in one line; empty for the value that suits most.
    """

    student: Model
    teacher: Model
    reason: str
    learning_rate: float = 1e-3
    learning_rate_reason: str = ""


def choose_pair(*, has_gpu: bool, from_scratch: bool) -> Pair:
    """Return the student and the teacher for a machine with or without a GPU."""
    if from_scratch and has_gpu:
        return Pair(
            student=Model(backbone="resnet18", fpn_channels=128, norm="group"),
            teacher=Model(backbone="resnet50", fpn_channels=256, norm="group"),
            reason=_RANDOM,
        )
    if from_scratch:
        return Pair(
            student=Model(backbone="resnet10_025", fpn_channels=32, norm="group"),
            teacher=Model(backbone="resnet18", fpn_channels=64, norm="group"),
            reason=f"{_RANDOM}. The student has half a million parameters, the teacher 12 million",
            learning_rate=2e-3,
            learning_rate_reason="better than 1e-3 for such pairs on the images of quickstart and of bccd",
        )
    if has_gpu:
        return Pair(
            student=Model(
                backbone="resnet18", fpn_channels=128, norm="frozen", weights="ResNet18_Weights.IMAGENET1K_V1"
            ),
            teacher=Model(
                backbone="resnet50", fpn_channels=256, norm="frozen", weights="ResNet50_Weights.IMAGENET1K_V2"
            ),
            reason=_IMAGENET,
        )
    return Pair(
        student=Model(
            backbone="mobilenet_v3_small",
            fpn_channels=48,
            norm="frozen",
            weights="MobileNet_V3_Small_Weights.IMAGENET1K_V1",
            norm_eps=0.001,
        ),
        teacher=Model(backbone="resnet18", fpn_channels=64, norm="frozen", weights="ResNet18_Weights.IMAGENET1K_V1"),
        reason=f"small enough for a CPU; {_IMAGENET}",
    )
