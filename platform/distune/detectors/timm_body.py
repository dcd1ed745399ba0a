"""Backbones of the optional package timm, with a feature pyramid."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock, FeaturePyramidNetwork

from distune.config.backbones import TIMM
from distune.config.detector import PyramidDetectorSettings
from distune.config.problems import suggest
from distune.detectors.modes import eval_without_grad
from distune.detectors.norms import FrozenNorm, NormLayer, group_norm
from distune.detectors.weights import fetch_weights, load_state
from distune.errors import ConfigError, UsageError

_PROBE_PX = 64


class TimmPyramid(nn.Module):
    """A timm backbone with a feature pyramid; returns the same as torchvision's ``BackboneWithFPN``.

    Args:
        body: timm's feature extractor.
        positions: indices of the maps that feed the pyramid, fine to coarse.
        fpn: the pyramid.
        out_channels: of the pyramid.
    """

    def __init__(self, body: nn.Module, positions: Sequence[int], fpn: nn.Module, out_channels: int) -> None:
        super().__init__()
        self.body = body
        self.fpn = fpn
        self.out_channels = out_channels
        self._positions = list(positions)

    def forward(self, images_B3HW: Tensor) -> dict[str, Tensor]:
        """Compute the maps of the pyramid, fine to coarse."""
        maps = self.body(images_B3HW)
        assert isinstance(maps, list)  # torch.jit.script takes timm's type, which is a union
        chosen: dict[str, Tensor] = {}
        for index, at in enumerate(self._positions):
            chosen[str(index)] = maps[at]
        pyramid: dict[str, Tensor] = self.fpn(chosen)
        return pyramid


def build_timm_pyramid(
    settings: PyramidDetectorSettings,
    *,
    stages: Sequence[int],
    extra_blocks: ExtraFPNBlock | Callable[[int], ExtraFPNBlock],
    neck_norm: NormLayer | None,
) -> TimmPyramid:
    """Build the pyramid of ``build_pyramid``. Backbone parameters have timm's names after ``backbone.body.model.``."""
    timm = _timm()
    name = settings.backbone.removeprefix(TIMM)
    if not timm.is_model(name):
        raise ConfigError("detector", [f"backbone = {settings.backbone}: {suggest_model(timm, name)}"])
    body = timm.create_model(name, pretrained=False, features_only=True, feature_cls="getter")
    strides, channels = body.feature_info.reduction(), body.feature_info.channels()
    lacking = [2 ** (stage + 1) for stage in stages if 2 ** (stage + 1) not in strides]
    if lacking:
        raise ConfigError(
            "detector", [f"backbone = {settings.backbone}: has maps of strides {strides}, but none of stride {lacking}"]
        )
    if settings.backbone_weights is not None:
        _load(timm, name, body.model, settings.backbone_weights)
    _freeze(settings, body)
    _convert_norms(settings, body)
    positions = [len(strides) - 1 - strides[::-1].index(2 ** (stage + 1)) for stage in stages]
    _check_maps(settings, body, [(strides[at], channels[at], at) for at in positions])
    chosen = [channels[at] for at in positions]
    fpn = FeaturePyramidNetwork(
        chosen,
        settings.fpn_channels,
        extra_blocks=extra_blocks if isinstance(extra_blocks, nn.Module) else extra_blocks(chosen[-1]),
        norm_layer=neck_norm,
    )
    return TimmPyramid(body, positions, fpn, settings.fpn_channels)


def suggest_model(timm: Any, name: str) -> str:
    """Return advice about a model name that timm does not know."""
    near = timm.list_models(f"{name.split('_')[0]}*")
    return f"timm knows no such model; {suggest(name, near or timm.list_models(f'{name[:3]}*')) or 'see its list'}"


def _timm() -> Any:
    try:
        return importlib.import_module("timm")
    except ImportError:
        raise UsageError(
            f"backbones named {TIMM}... need the package timm, which is not installed: pip install timm"
        ) from None


def _load(timm: Any, name: str, model: nn.Module, source: str) -> None:
    """Load the weights of the whole classifier; those that the backbone does not have are left out."""
    with torch.device("meta"):
        whole = timm.create_model(name, pretrained=False).state_dict().keys()
    unused = whole - model.state_dict().keys()
    state = {
        key: value for key, value in fetch_weights(source, unused=sorted(unused)).state.items() if key not in unused
    }
    load_state(model, state, source=source)


def _freeze(settings: PyramidDetectorSettings, body: Any) -> None:
    """Freeze all parameters except those of the last stages; 5 trains all, the stem included."""
    if settings.trainable_stages == 5:
        return
    names = [name for name, _ in body.model.named_parameters()]
    last = {
        stride: [index for index, name in enumerate(names) if name.startswith(f"{module}.")]
        for stride, module in zip(body.feature_info.reduction(), body.feature_info.module_name(), strict=True)
    }
    ends = [last.get(stride, []) for stride in (4, 8, 16, 32)]
    is_sequential = all(ends) and all(one[-1] < other[0] for one, other in itertools.pairwise(ends))
    if not is_sequential:
        raise ConfigError(
            "detector",
            [
                f"trainable_stages = {settings.trainable_stages}: must be 5 with {settings.backbone}, whose stages are "
                "not sequential"
            ],
        )
    # Layers between the named ones belong to the stage that they lead to.
    first_trained = [ends[0][0], *(end[-1] + 1 for end in ends)][4 - settings.trainable_stages]
    for parameter in list(body.model.parameters())[:first_trained]:
        parameter.requires_grad_(False)


def _convert_norms(settings: PyramidDetectorSettings, body: nn.Module) -> None:
    if settings.norm == "own":
        return
    batch_norms = [name for name, each in body.named_modules() if isinstance(each, nn.BatchNorm2d)]
    if not batch_norms:
        raise ConfigError(
            "detector",
            [f"norm = {settings.norm}: {settings.backbone} has no batch normalization; use norm: own"],
        )
    for name in batch_norms:
        parent, _, child = name.rpartition(".")
        batch_norm = body.get_submodule(name)
        assert isinstance(batch_norm, nn.BatchNorm2d)
        setattr(body.get_submodule(parent), child, _convert(batch_norm, settings))


def _convert(batch_norm: nn.BatchNorm2d, settings: PyramidDetectorSettings) -> nn.Module:
    """Build the layer of another kind, followed by the dropout and activation inside timm's layer, if any."""
    epsilon = settings.epsilon
    assert epsilon is not None
    if settings.norm == "batch":
        batch_norm.eps = epsilon
        return batch_norm
    if settings.norm == "frozen":
        norm: nn.Module = FrozenNorm(batch_norm.num_features, eps=epsilon)
        state = batch_norm.state_dict()
        norm.load_state_dict({key: value for key, value in state.items() if key != "num_batches_tracked"})
    else:
        norm = group_norm(batch_norm.num_features, eps=epsilon)
        norm.requires_grad_(all(each.requires_grad for each in batch_norm.parameters()))
    followers = [each for name in ("drop", "act") if isinstance(each := getattr(batch_norm, name, None), nn.Module)]
    return nn.Sequential(norm, *followers) if followers else norm


def _check_maps(settings: PyramidDetectorSettings, body: nn.Module, expected: list[tuple[int, int, int]]) -> None:
    """Raise ``ConfigError`` if the backbone fails on a small image, or its maps differ from timm's description."""
    problem = ""
    try:
        with eval_without_grad(body):
            maps = body(torch.zeros(1, 3, _PROBE_PX, _PROBE_PX, device=next(body.parameters()).device))
    except Exception as error:  # a model can raise anything
        problem = f"cannot be run on an image of {_PROBE_PX} x {_PROBE_PX} px: {error}"
    else:
        wrong = [
            f"stride {stride}: {tuple(maps[at].shape[1:])}"
            for stride, channels, at in expected
            if maps[at].shape != (1, channels, _PROBE_PX // stride, _PROBE_PX // stride)
        ]
        problem = f"its maps have unexpected shapes: {', '.join(wrong)}" if wrong else ""
    if problem:
        raise ConfigError("detector", [f"backbone = {settings.backbone}: {problem}"])
