"""ResNet backbones with a feature pyramid, under torchvision's parameter names so that its weights load."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import nn
from torchvision.models import get_model
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.resnet import BasicBlock, ResNet
from torchvision.ops import FrozenBatchNorm2d
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock

from distune.config.detector import CommonDetectorSettings
from distune.detectors.weights import fetch_weights, load_state

_STAGES_LAST_FIRST = ("layer4", "layer3", "layer2", "layer1", "conv1")


def build_resnet(name: str, norm_layer: Callable[[int], nn.Module]) -> ResNet:
    """A ResNet by torchvision's name, or ``resnet10``: one basic block in each of the four stages."""
    if name == "resnet10":
        return ResNet(BasicBlock, [1, 1, 1, 1], norm_layer=norm_layer)
    model = get_model(name, weights=None, norm_layer=norm_layer)
    assert isinstance(model, ResNet)
    return model


def build_pyramid(
    settings: CommonDetectorSettings, *, stages: Sequence[int], extra_blocks: ExtraFPNBlock
) -> BackboneWithFPN:
    """A ResNet whose ``stages`` (1 to 4) feed a feature pyramid of ``settings.fpn_channels`` channels.

    Raises:
        WeightsError: ``settings.backbone_weights`` is unknown or does not fit.
    """
    resnet = build_resnet(settings.backbone, _norm_layer(settings.norm))
    if settings.backbone_weights is not None:
        weights = fetch_weights(settings.backbone_weights)
        load_state(resnet, weights.state, source=settings.backbone_weights, replaceable=("fc.",))
    _freeze(resnet, settings.trainable_stages)
    first_stage_channels = resnet.inplanes // 8
    return BackboneWithFPN(
        resnet,
        {f"layer{stage}": str(index) for index, stage in enumerate(stages)},
        [first_stage_channels * 2 ** (stage - 1) for stage in stages],
        settings.fpn_channels,
        extra_blocks=extra_blocks,
    )


def _norm_layer(norm: str) -> Callable[[int], nn.Module]:
    layers: dict[str, Callable[[int], nn.Module]] = {
        "batch": nn.BatchNorm2d,
        "frozen": FrozenBatchNorm2d,
        "group": _group_norm,
    }
    return layers[norm]


def _group_norm(channels: int) -> nn.Module:
    return nn.GroupNorm(min(32, channels // 2), channels)


def _freeze(resnet: ResNet, trainable_stages: int) -> None:
    trained = _STAGES_LAST_FIRST[:trainable_stages] + (("bn1",) if trainable_stages == 5 else ())
    for name, parameter in resnet.named_parameters():
        if not name.startswith(trained):
            parameter.requires_grad_(False)
