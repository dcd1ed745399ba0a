"""Backbone bodies: torchvision's classifiers as sequences of layers, with torchvision's parameter names."""

from __future__ import annotations

import collections
import dataclasses
from typing import Any

import torch
from torch import nn
from torchvision.models import get_model

from distune.config.backbones import BACKBONES, MOBILENETS, SMALL_RESNETS
from distune.detectors.checkpoint_forms import StateDict
from distune.detectors.modes import eval_without_grad
from distune.detectors.norms import NormLayer
from distune.detectors.small_resnet import SmallResNet
from distune.detectors.weights import fetch_weights, load_state
from distune.errors import WeightsError

_PROBE_PX = 64
_NEEDS_VALUES = "regnet"
"""Cannot be built on the meta device."""
_IN_DETECTOR = "backbone.body."
_COUNTER = "num_batches_tracked"
CLASSIFIER = ("fc.", "classifier.")
"""The prefixes of parameters that only the classifier has, and not the backbone."""


@dataclasses.dataclass(frozen=True)
class Layer:
    """A layer of a body.

    Attributes:
        name: in the body.
        stage: 1 to 4 where its map has stride 4 to 32; 0 for the stem before.
        channels: of its map.
    """

    name: str
    stage: int
    channels: int


def build_body(name: str, norm_layer: NormLayer | None, *, weights: str | None) -> nn.Sequential:
    """Build a torchvision classifier, or a small ResNet, up to its last feature map.

    Args:
        name: a ResNet, ResNeXt, Wide ResNet, RegNet, MobileNetV2, MobileNetV3 or small ResNet.
        norm_layer: None keeps the classifier's own.
        weights: of the whole classifier, a name of torchvision's or a file; None starts from scratch.

    Returns:
        The layers, under torchvision's names.

    Raises:
        WeightsError: the weights are unknown or do not fit.
    """
    model: Any
    if name in SMALL_RESNETS:
        model = SmallResNet(*SMALL_RESNETS[name], norm_layer=norm_layer)
    else:
        model = get_model(name, weights=None, norm_layer=norm_layer)
    if weights is not None:
        state = fetch_weights(weights, unused=CLASSIFIER).state
        try:
            load_state(model, state, source=weights, replaceable=CLASSIFIER)
        except WeightsError:
            load_state(model, state, source=weights, replaceable=CLASSIFIER, remedy=other_backbone(state, name))
    layers = dict(model.named_children())
    if name in MOBILENETS:
        body: nn.Sequential = model.features
        return body
    if "trunk_output" in layers:  # a RegNet
        layers = {"stem": layers["stem"], **dict(model.trunk_output.named_children())}
    for after_the_maps in ("avgpool", "fc"):
        layers.pop(after_the_maps, None)
    return nn.Sequential(collections.OrderedDict(layers))


def other_backbone(state: StateDict, name: str) -> str | None:
    """Return a sentence on the backbone that weights are of, if it is known and not the one that is set.

    Args:
        state: of a classifier or of a detector with a feature pyramid.
        name: of the backbone that is set.

    Returns:
        The sentence; None if no other backbone fits exactly.
    """
    of_body = {key.removeprefix(_IN_DETECTOR): value for key, value in state.items() if key.startswith(_IN_DETECTOR)}
    shapes = {
        key.removeprefix("features.").removeprefix("trunk_output."): value.shape
        for key, value in (of_body or state).items()
        if not key.startswith(CLASSIFIER) and not key.endswith(_COUNTER)
    }
    for other in BACKBONES:
        if other == name or other.startswith(_NEEDS_VALUES):
            continue
        with torch.device("meta"):
            body = build_body(other, nn.BatchNorm2d, weights=None).state_dict()
        if {key: value.shape for key, value in body.items() if not key.endswith(_COUNTER)} == shapes:
            return f"they are of backbone: {other}, and backbone: {name} is set"
    return None


def layers_of(body: nn.Sequential) -> list[Layer]:
    """List the layers of a body with stage and channels, found with a forward pass of a small image."""
    parameter = next(body.parameters())
    layers: list[Layer] = []
    with eval_without_grad(body):
        maps = torch.zeros(1, 3, _PROBE_PX, _PROBE_PX, device=parameter.device, dtype=parameter.dtype)
        for name, child in body.named_children():
            maps = child(maps)
            stride = _PROBE_PX // maps.shape[-1]
            layers.append(Layer(name, max(0, stride.bit_length() - 2), maps.shape[1]))
    return layers


def freeze(body: nn.Sequential, layers: list[Layer], trainable_stages: int) -> None:
    """Freeze all layers except those of the last ``trainable_stages`` stages; 5 trains all, the stem included."""
    for layer in layers:
        if layer.stage <= 4 - trainable_stages:
            body.get_submodule(layer.name).requires_grad_(False)
