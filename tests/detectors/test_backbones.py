"""All kinds of backbones: maps by stage, normalization, frozen stages, weights."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torchvision.models import MobileNet_V3_Small_Weights, get_model
from torchvision.models.detection.backbone_utils import mobilenet_backbone, resnet_fpn_backbone
from torchvision.models.regnet import BlockParams
from torchvision.ops import FrozenBatchNorm2d
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from distune.config.backbones import BACKBONES
from distune.config.detector import FasterRcnnSettings, RetinaNetSettings
from distune.detectors.backbone import build_pyramid
from distune.detectors.bodies import build_body, freeze, layers_of
from distune.detectors.norms import FrozenNorm, group_norm, norm_layer
from distune.errors import WeightsError

SMALL_OF_EACH_KIND = (
    "resnet10",
    "resnet10_025",
    "resnet18_050",
    "regnet_x_400mf",
    "regnet_y_400mf",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "mobilenet_v3_large",
)


def pyramid(backbone: str = "resnet10", **settings: Any) -> Any:
    found = RetinaNetSettings(**{"family": "retinanet", "backbone": backbone, "fpn_channels": 8, **settings})
    return build_pyramid(found, stages=(1, 2, 3, 4), extra_blocks=LastLevelMaxPool())


@pytest.fixture(autouse=True)
def _regnets_on_meta(monkeypatch: pytest.MonkeyPatch) -> None:
    """torchvision computes the widths of a RegNet with tensors, which must have data."""
    own = BlockParams.from_init_params

    def with_data(*arguments: Any, **named: Any) -> Any:
        with torch.device("cpu"):
            return own(*arguments, **named)

    monkeypatch.setattr(BlockParams, "from_init_params", with_data)


def trained(module: nn.Module) -> set[str]:
    return {name for name, value in module.named_parameters() if value.requires_grad}


@pytest.mark.parametrize(
    "backbone",
    [each if each in SMALL_OF_EACH_KIND else pytest.param(each, marks=pytest.mark.slow) for each in BACKBONES],
)
def test_every_backbone_has_a_map_of_each_stage(backbone: str) -> None:
    with torch.device("meta"):
        maps = pyramid(backbone)(torch.zeros(1, 3, 64, 96))
    sizes = [(1, 8, 64 // stride, 96 // stride) for stride in (4, 8, 16, 32)]
    assert [tuple(each.shape) for each in maps.values()] == [*sizes, (1, 8, 1, 2)]


def test_stages_end_where_the_next_stride_begins() -> None:
    def ends(backbone: str) -> list[str]:
        layers = layers_of(build_body(backbone, nn.BatchNorm2d, weights=None))
        return [[layer.name for layer in layers if layer.stage == stage][-1] for stage in range(5)]

    assert ends("resnet10") == ["relu", "layer1", "layer2", "layer3", "layer4"]
    assert ends("regnet_y_400mf") == ["stem", "block1", "block2", "block3", "block4"]
    assert ends("mobilenet_v2") == ["1", "3", "6", "13", "18"]
    assert ends("mobilenet_v3_large") == ["1", "3", "6", "12", "16"]
    assert ends("mobilenet_v3_small") == ["0", "1", "3", "8", "12"]


@pytest.mark.parametrize(("backbone", "blocks", "divisor"), [("resnet10_025", 1, 4), ("resnet18_050", 2, 2)])
def test_a_small_resnet_has_a_part_of_the_channels_of_resnet18(backbone: str, blocks: int, divisor: int) -> None:
    body = build_body(backbone, nn.BatchNorm2d, weights=None)
    maps = {layer.stage: layer.channels for layer in layers_of(body)}
    assert maps == {0: 64, **{stage: 32 * 2**stage // divisor for stage in range(1, 5)}}
    assert [len(list(body.get_submodule(f"layer{stage}").children())) for stage in range(1, 5)] == [blocks] * 4


def test_listing_the_layers_does_not_change_the_body() -> None:
    body = build_body("resnet10", nn.BatchNorm2d, weights=None)
    before = {name: value.clone() for name, value in body.state_dict().items()}
    state = torch.get_rng_state()
    layers_of(body)
    assert body.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], value) for name, value in body.state_dict().items())


@pytest.mark.parametrize("backbone", SMALL_OF_EACH_KIND)
@pytest.mark.parametrize(("norm", "kind"), [("batch", nn.BatchNorm2d), ("frozen", FrozenNorm), ("group", nn.GroupNorm)])
def test_norm_layers_have_the_requested_kind_and_epsilon(backbone: str, norm: str, kind: type[nn.Module]) -> None:
    with torch.device("meta"):
        body = pyramid(backbone, norm=norm, norm_eps=0.25, backbone_weights=None).body
    norms = [each for each in body.modules() if isinstance(each, nn.BatchNorm2d | FrozenBatchNorm2d | nn.GroupNorm)]
    assert norms
    assert all(type(each) is kind and each.eps == 0.25 for each in norms)


def test_norm_own_keeps_the_classifiers_layers() -> None:
    with torch.device("meta"):
        own, plain = pyramid("mobilenet_v3_small", norm="own").body, pyramid("mobilenet_v3_small").body
    norms = [[each.eps for each in body.modules() if isinstance(each, nn.BatchNorm2d)] for body in (own, plain)]
    assert set(norms[0]) == {1e-3}
    assert set(norms[1]) == {1e-5}


def test_groups_divide_the_channels() -> None:
    for channels in (1, 2, 7, 16, 24, 72, 88, 240, 256, 1512):
        layer = group_norm(channels)
        assert isinstance(layer, nn.GroupNorm)
        assert channels % layer.num_groups == 0
        assert layer.num_groups <= max(1, min(32, channels // 2))
    assert [getattr(group_norm(channels), "num_groups", 0) for channels in (16, 64, 256, 72)] == [8, 32, 32, 24]
    assert norm_layer("own", None) is None


@pytest.mark.parametrize("backbone", SMALL_OF_EACH_KIND)
def test_stages_are_frozen_from_the_first(backbone: str) -> None:
    with torch.device("meta"):
        body = build_body(backbone, nn.BatchNorm2d, weights=None)
        layers = layers_of(body)
    found = []
    for number in range(6):
        freeze(body.requires_grad_(True), layers, number)
        found.append(trained(body))
    assert found[0] == set()
    assert all(few < more for few, more in itertools.pairwise(found))
    assert found[5] == {name for name, _ in body.named_parameters()}


def test_the_setting_freezes_stages() -> None:
    last = {name.split(".")[0] for name in trained(pyramid(trainable_stages=2).body)}
    assert last == {"layer3", "layer4"}


def test_frozen_stages_are_those_of_torchvision() -> None:
    with torch.device("meta"):
        body = build_body("resnet18", FrozenBatchNorm2d, weights=None)
        layers = layers_of(body)
        for number in range(6):
            theirs = resnet_fpn_backbone(backbone_name="resnet18", weights=None, trainable_layers=number).body
            freeze(body.requires_grad_(True), layers, number)
            assert trained(body) == trained(theirs)


@pytest.mark.parametrize(
    ("backbone", "first"),
    [
        ("regnet_x_400mf", "stem.0.weight"),
        ("mobilenet_v2", "0.0.weight"),
        ("mobilenet_v3_small", "0.0.weight"),
        ("resnet18", "conv1.weight"),
    ],
)
def test_weights_of_the_classifier_come_from_a_file(tmp_path: Path, backbone: str, first: str) -> None:
    classifier = get_model(backbone, weights=None)
    torch.save(classifier.state_dict(), tmp_path / "weights.pt")
    body = pyramid(backbone, backbone_weights=str(tmp_path / "weights.pt")).body
    theirs = {
        name.removeprefix("features.").removeprefix("trunk_output."): value
        for name, value in classifier.state_dict().items()
    }
    own = body.state_dict()
    assert first in own
    assert all(torch.equal(value, theirs[name]) for name, value in own.items())
    with pytest.raises(WeightsError, match="differences"):
        pyramid("resnet10", backbone_weights=str(tmp_path / "weights.pt"))


@pytest.mark.parametrize("backbone", ["mobilenet_v2", "mobilenet_v3_large"])
def test_levels_last_of_a_mobilenet_are_torchvisions(backbone: str) -> None:
    with torch.device("meta"):
        settings = FasterRcnnSettings(family="fasterrcnn", backbone=backbone, levels="last")
        ours = build_pyramid(settings, stages=(4,), extra_blocks=LastLevelMaxPool(), both_ends=True)
        theirs = mobilenet_backbone(
            backbone_name=backbone, weights=None, fpn=True, norm_layer=nn.BatchNorm2d, trainable_layers=6
        )
    shapes = [{name: value.shape for name, value in module.state_dict().items()} for module in (ours, theirs)]
    assert shapes[0] == shapes[1]
    assert ours.body.return_layers == theirs.body.return_layers


def test_weights_of_the_classifier_come_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    source = get_model("mobilenet_v3_small", weights=None).state_dict()
    monkeypatch.setattr(MobileNet_V3_Small_Weights, "get_state_dict", lambda self, **_: source, raising=False)
    own = pyramid("mobilenet_v3_small", backbone_weights="MobileNet_V3_Small_Weights.IMAGENET1K_V1").body
    assert torch.equal(own.state_dict()["12.0.weight"], source["features.12.0.weight"])
