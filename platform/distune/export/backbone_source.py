"""Source that builds the backbone of a detector with its feature pyramid, read off the detector that there is."""

from __future__ import annotations

from typing import Any

from torch import nn
from torchvision.ops import FrozenBatchNorm2d
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from distune.config.backbones import MOBILENETS, SMALL_RESNETS, TIMM
from distune.config.detector import PyramidDetectorSettings, TwoStageSettings
from distune.export.source_code import SourceCode, call

_EPSILON = 1e-5
_FPN = "torchvision.ops.feature_pyramid_network"
_GROUP_NORM = '''
def group_norm(channels, eps=1e-05):
    """As many groups as divide the channels: at most 32, of two channels or more."""
    most = max(1, min(32, channels // 2))
    groups = next(count for count in range(most, 0, -1) if channels % count == 0)
    return nn.GroupNorm(groups, channels, eps=eps)
'''
_SMALL_RESNET = '''
class SmallResNet(ResNet):
    """A ResNet whose stages have fewer channels."""

    def _make_layer(self, block, planes, *arguments, **keywords):
        return super()._make_layer(block, planes // {divisor}, *arguments, **keywords)
'''
_CONVERT = '''
def convert_norms(body):
    """Replace timm's batch norms; dropout and activation inside of them stay."""
    batch_norms = [(name, each) for name, each in body.named_modules() if isinstance(each, nn.BatchNorm2d)]
    for name, old in batch_norms:
        parent, _, child = name.rpartition(".")
        after = [each for each in (getattr(old, "drop", None), getattr(old, "act", None)) if each is not None]
        new = NORM(old.num_features)
        setattr(body.get_submodule(parent), child, nn.Sequential(new, *after) if after else new)
    return body
'''
_PYRAMID = '''
class Pyramid(nn.Module):
    """A timm backbone with a feature pyramid."""

    def __init__(self, body, fpn, out_channels):
        super().__init__()
        self.body, self.fpn, self.out_channels = body, fpn, out_channels

    def forward(self, images):
        maps = self.body(images)
        return self.fpn({str(index): maps[at] for index, at in enumerate(POSITIONS)})
'''


def add_pyramid(code: SourceCode, model: Any, settings: PyramidDetectorSettings) -> None:
    """Add the lines that build ``backbone``.

    Args:
        code: receives the lines.
        model: the detector, for channels, layers and epsilon.
        settings: of the detector.
    """
    pyramid = model.backbone
    channels_in = [block[0].in_channels for block in pyramid.fpn.inner_blocks]
    extra = pyramid.fpn.extra_blocks
    blocks = None
    if isinstance(extra, LastLevelP6P7):
        code.use(_FPN, "LastLevelP6P7")
        blocks = call("LastLevelP6P7", extra.p6.in_channels, pyramid.out_channels)
    has_norm = isinstance(settings, TwoStageSettings) and settings.head == "v2"
    neck_norm = head_norm(code, settings) if has_norm else None
    if settings.backbone.startswith(TIMM):
        code.use("timm")
        code.use(_FPN, "FeaturePyramidNetwork")
        if blocks is None:
            code.use(_FPN, "LastLevelMaxPool")
            blocks = "LastLevelMaxPool()"
        code.define(_PYRAMID.replace("POSITIONS", str(tuple(pyramid._positions))))
        name = settings.backbone.removeprefix(TIMM)
        code.add(call("body = timm.create_model", f'"{name}"', features_only=True, feature_cls='"getter"'))
        _add_timm_norms(code, pyramid.body, settings)
        code.add(
            call(
                "fpn = FeaturePyramidNetwork",
                channels_in,
                pyramid.out_channels,
                extra_blocks=blocks,
                norm_layer=neck_norm,
            )
        )
        code.add(f"backbone = Pyramid(body, fpn, {pyramid.out_channels})")
        return
    _add_body(code, pyramid.body, settings)
    layers = call("", *(f"{name!r}: {index!r}" for name, index in pyramid.body.return_layers.items()))
    code.use("torchvision.models.detection.backbone_utils", "BackboneWithFPN")
    code.add(
        call(
            "backbone = BackboneWithFPN",
            "body",
            "{" + layers.replace("'", '"')[1:-1] + "}",
            channels_in,
            pyramid.out_channels,
            extra_blocks=blocks,
            norm_layer=neck_norm,
        )
    )


def head_norm(code: SourceCode, settings: PyramidDetectorSettings) -> str:
    """Return the normalization of neck and head in detectors that have one."""
    if settings.norm == "group":
        return use_group_norm(code)
    code.use("torch", "nn")
    return "nn.BatchNorm2d"


def use_group_norm(code: SourceCode) -> str:
    """Define the group normalization, and return its name."""
    code.use("torch", "nn")
    code.define(_GROUP_NORM)
    return "group_norm"


def _add_body(code: SourceCode, body: nn.Module, settings: PyramidDetectorSettings) -> None:
    norm, name = _norm(code, body, settings), settings.backbone
    if name in SMALL_RESNETS:
        blocks, divisor = SMALL_RESNETS[name]
        code.use("torchvision.models.resnet", "BasicBlock", "ResNet")
        name = "ResNet"
        if divisor > 1:
            name = "SmallResNet"
            code.define(_SMALL_RESNET.format(divisor=divisor))
        code.add(call(f"body = {name}", "BasicBlock", str([blocks] * 4), norm_layer=norm))
        return
    code.use("torchvision.models", name)
    if name in MOBILENETS:
        code.add(call(f"body = {name}", norm_layer=norm) + ".features")
    elif name.startswith("regnet"):
        code.use("collections", "OrderedDict")
        code.use("torch", "nn")
        code.add(call(f"net = {name}", norm_layer=norm))
        code.add("layers = OrderedDict(stem=net.stem, **dict(net.trunk_output.named_children()))")
        code.add("body = nn.Sequential(layers)")
    else:
        code.add(call(f"body = {name}", norm_layer=norm))


def _norm(code: SourceCode, body: nn.Module, settings: PyramidDetectorSettings) -> str | None:
    """Return the normalization of the backbone; None where it is the backbone's own."""
    if settings.norm == "own":
        return None
    name = {"batch": "nn.BatchNorm2d", "frozen": "FrozenBatchNorm2d", "group": "group_norm"}[settings.norm]
    if settings.norm == "frozen":
        code.use("torchvision.ops", "FrozenBatchNorm2d")
    elif settings.norm == "group":
        use_group_norm(code)
    else:
        code.use("torch", "nn")
    epsilon = _epsilon(body)
    if epsilon == _EPSILON:
        return name
    code.use("functools", "partial")
    return f"partial({name}, eps={epsilon!r})"


def _add_timm_norms(code: SourceCode, body: nn.Module, settings: PyramidDetectorSettings) -> None:
    if settings.norm == "own":
        return
    if settings.norm == "batch":
        code.use("torch", "nn")
        code.add("for module in body.modules():")
        code.add("    if isinstance(module, nn.BatchNorm2d):")
        code.add(f"        module.eps = {_epsilon(body)!r}")
        return
    norm = _norm(code, body, settings)
    code.use("torch", "nn")
    code.define(_CONVERT.replace("NORM", str(norm)))
    code.add("convert_norms(body)")


def _epsilon(body: nn.Module) -> float:
    """Return the epsilon of the first normalization; the settings leave that of a file of weights open."""
    kinds = (nn.BatchNorm2d, nn.GroupNorm, FrozenBatchNorm2d)
    return next((float(each.eps) for each in body.modules() if isinstance(each, kinds)), _EPSILON)
