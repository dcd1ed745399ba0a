"""Weights are checked before anything is trained: an error names the setting, and nothing is downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor
from torchvision.models import ResNet18_Weights, resnet18
from torchvision.models.resnet import BasicBlock, ResNet
from torchvision.models.vgg import cfgs, make_layers

from distune.config.detector import DetectorSettings
from distune.detectors import weights_check
from distune.detectors.bodies import other_backbone
from distune.detectors.weights_check import DetectorInUse, check_weights
from distune.detectors.zoo import build_detector
from distune.errors import WeightsError

State = dict[str, Tensor]
SMALL: dict[str, Any] = {"family": "retinanet", "backbone": "resnet10", "fpn_channels": 16}
SSD: dict[str, Any] = {"family": "ssd", "input_size_px": 64}
SIZE: dict[str, Any] = {"min_size_px": 64, "max_size_px": 64}


def settings_of(**changes: Any) -> DetectorSettings:
    base = SMALL if changes.get("family", "retinanet") == "retinanet" else {}
    return TypeAdapter[DetectorSettings](DetectorSettings).validate_python({**base, **changes})


def check(
    role: str = "student",
    *,
    is_trained: bool = True,
    classes: tuple[str, ...] | None = ("cat", "dog"),
    download: bool = False,
    **changes: Any,
) -> list[str]:
    detector = DetectorInUse(
        role=role, settings=settings_of(**changes), is_trained=is_trained, classes=classes, needed_by=(), **SIZE
    )
    return check_weights(detector, download=download)


def state_of(classes: tuple[str, ...] = ("cat", "dog"), **changes: Any) -> State:
    state: State = build_detector(settings_of(**changes), classes=classes, seed=3, **SIZE).model.state_dict()
    return state


def saved(content: Any, folder: Path, name: str = "weights.pt") -> str:
    torch.save(content, folder / name)
    return str(folder / name)


def body10() -> State:
    state: State = ResNet(BasicBlock, [1, 1, 1, 1]).state_dict()
    return state


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of torch, and no network."""
    folder = tmp_path / "hub"
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(folder))

    def refuse(*_: Any, **__: Any) -> None:
        pytest.fail("downloaded")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    return folder


@pytest.mark.parametrize("role", ["teacher", "student"])
def test_a_missing_file_names_the_setting_and_a_similar_file(tmp_path: Path, role: str) -> None:
    saved(body10(), tmp_path, "r10.pth")
    with pytest.raises(
        WeightsError, match=rf"^{role}\.backbone_weights = .*r1o\.pth: there is no such file; .* has r10"
    ):
        check(role, backbone_weights=str(tmp_path / "r1o.pth"))
    with pytest.raises(
        WeightsError, match=rf"^{role}\.weights = .*absent/x\.pt: there is no such file; its folder .* does not"
    ):
        check(role, weights=str(tmp_path / "absent" / "x.pt"))
    with pytest.raises(WeightsError, match="is a folder"):
        check(role, weights=str(tmp_path))


@pytest.mark.parametrize("key", ["weights", "backbone_weights"])
@pytest.mark.parametrize("address", ["https://example.org/r18.pth", "s3://bucket/r18.pth", "file:///r18.pth"])
def test_an_address_is_not_a_file(key: str, address: str) -> None:
    with pytest.raises(ValidationError, match="is an address; download the file"):
        settings_of(**{key: address})


def test_weights_of_another_depth_name_the_backbone_that_they_fit(tmp_path: Path) -> None:
    file = saved({"model": {f"module.{name}": value for name, value in resnet18().state_dict().items()}}, tmp_path)
    with pytest.raises(WeightsError, match=r"(?s)^student\.backbone_weights = .*of backbone: resnet18,") as error:
        check(backbone_weights=file)
    assert str(error.value).count("\n") == 2, "three lines"
    whole = saved(state_of(backbone="resnet18"), tmp_path, "whole.pt")
    with pytest.raises(WeightsError, match=r"(?s)^teacher\.weights = .*they are of backbone: resnet18, and .*resnet10"):
        check("teacher", weights=whole, is_trained=False)


def test_a_backbone_that_is_right_or_unknown_is_not_named() -> None:
    assert other_backbone(body10(), "resnet10") is None
    assert other_backbone({"stem": torch.zeros(2)}, "resnet10") is None
    assert other_backbone(body10(), "resnet50") == "they are of backbone: resnet10, and backbone: resnet50 is set"


def test_weights_of_more_classes_say_how_many(tmp_path: Path) -> None:
    file = saved(state_of(("a", "b", "c", "d", "e")), tmp_path)
    with pytest.raises(WeightsError, match=r"(?s)^teacher\.weights = .*they have 5 classes, and the data has 2"):
        check("teacher", weights=file, is_trained=False)
    assert check("teacher", weights=file, is_trained=True) == [], "training starts with new class heads"
    assert check("teacher", weights=file, is_trained=False, classes=None) == [], "the classes are not known yet"


def test_the_other_head_is_named(tmp_path: Path) -> None:
    file = saved(state_of(head="v1"), tmp_path)
    with pytest.raises(WeightsError, match=r"(?s)^student\.weights = .*closer to head: v1"):
        check(weights=file)


def test_values_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    state = body10()
    state["bn1.weight"][3] = float("nan")
    with pytest.raises(WeightsError, match=r"^student\.backbone_weights = .*not finite.*bn1\.weight"):
        check(backbone_weights=saved(state, tmp_path))


def test_values_of_the_classifier_do_not_count_in_weights_of_a_backbone(tmp_path: Path) -> None:
    state = body10()
    state["fc.weight"][3] = float("nan")
    assert check(backbone_weights=saved(state, tmp_path)) == []
    vgg = {f"features.{name}": value for name, value in make_layers(cfgs["D"]).state_dict().items()}
    vgg["classifier.0.weight"] = torch.full((2, 2), float("nan"))  # as in torchvision's IMAGENET1K_FEATURES
    assert check(**SSD, backbone_weights=saved(vgg, tmp_path)) == []
    vgg["features.0.bias"][0] = float("inf")
    with pytest.raises(WeightsError, match=r"1 of 26 tensors hold values that are not finite.*: features\.0\.bias$"):
        check(**SSD, backbone_weights=saved(vgg, tmp_path))


@pytest.mark.parametrize("name", ["VGG16_Weights.IMAGENET1K_V1", "VGG16_Weights.DEFAULT"])
def test_weights_of_another_normalization_need_their_mean_and_deviation(hub: Path, name: str) -> None:
    statistics: dict[str, Any] = {"input_mean": [0.485, 0.456, 0.406], "input_std": [0.229, 0.224, 0.225]}
    for given in ({}, {"input_mean": statistics["input_mean"]}, {"input_std": statistics["input_std"]}):
        with pytest.raises(WeightsError, match=r"another normalization .* use these, or set input_mean: \[0\.485"):
            check(**SSD, **given, backbone_weights=name)
    assert len(check(**SSD, **statistics, backbone_weights=name)) == 1
    assert len(check(**SSD, backbone_weights="VGG16_Weights.IMAGENET1K_FEATURES")) == 1


def test_the_key_and_prefix_of_a_state_dict_are_said(tmp_path: Path) -> None:
    file = saved({"model_ema": {f"module.{name}": value for name, value in state_of().items()}, "epoch": 3}, tmp_path)
    assert check(weights=file) == [
        f"student.weights: the state dict of {file} was found under key model_ema, prefix module."
    ]
    own = saved({"model": state_of(), "classes": ["cat", "dog"]}, tmp_path, "own.pt")
    assert check(weights=own) == check(weights=saved(state_of(), tmp_path, "plain.pt")) == []


def test_a_name_is_checked_and_not_downloaded(hub: Path) -> None:
    (line,) = check(backbone="resnet18", backbone_weights="ResNet18_Weights.IMAGENET1K_V1")
    assert line.startswith(
        "student.backbone_weights: ResNet18_Weights.IMAGENET1K_V1: not in the cache: distune launch downloads 47 MB "
        "from https://download.pytorch.org/models/resnet18-"
    )
    assert not hub.exists()


def test_weights_in_the_cache_are_read(hub: Path) -> None:
    (hub / "checkpoints").mkdir(parents=True)
    cached = hub / "checkpoints" / Path(ResNet18_Weights.IMAGENET1K_V1.url).name
    name = "ResNet18_Weights.IMAGENET1K_V1"
    torch.save(resnet18().state_dict(), cached)
    assert check(backbone="resnet18", backbone_weights=name) == [
        f"student.backbone_weights: {name} is in the cache, {cached}"
    ]
    cached.write_bytes(cached.read_bytes()[:1000])
    with pytest.raises(WeightsError, match=r"^student\.backbone_weights = .*is damaged .*delete it"):
        check(backbone="resnet18", backbone_weights=name)


def test_launch_downloads_before_anything_is_trained(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ResNet18_Weights, "get_state_dict", lambda self, **_: resnet18().state_dict(), raising=False)
    (line,) = check(backbone="resnet18", backbone_weights="ResNet18_Weights.DEFAULT", download=True)
    assert "downloading 47 MB from" in line


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"backbone": "resnet18", "backbone_weights": "ResNet18_Weights.V3"},
            r"no such weights; .*ResNet18_Weights\.IM",
        ),
        (
            {"backbone": "resnet18", "backbone_weights": "ResNet50_Weights.DEFAULT"},
            r"not of backbone = resnet18; .*ResNet18",
        ),
        (
            {"backbone": "resnet18", "backbone_weights": "/here/pretrained"},
            r"pretrained: .*ResNet18_Weights\.IMAGENET1K",
        ),
        ({"backbone_weights": "ResNet18_Weights.DEFAULT"}, "torchvision has no weights for resnet10"),
        (
            {"backbone": "timm/resnet18", "backbone_weights": "DEFAULT"},
            r"timm\.create_model\('resnet18', pretrained=True",
        ),
        ({"weights": "ResNet50_Weights.DEFAULT"}, r"not of a retinanet .*RetinaNet_ResNet50.*backbone_weights"),
        ({"weights": "COCO_V1"}, r"COCO_V1: .*RetinaNet_ResNet50_FPN_Weights\.COCO_V1"),
    ],
)
def test_names_of_other_weights_are_refused_with_the_right_ones(
    hub: Path, changes: dict[str, Any], expected: str
) -> None:
    key = "weights" if "weights" in changes else "backbone_weights"
    with pytest.raises(WeightsError, match=rf"^student\.{key} = .*{expected}"):
        check(**changes)


def test_a_detector_is_built_only_for_weights_that_are_here(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights_check, "build_detector", lambda *_, **__: pytest.fail("built"))
    check(backbone="resnet18", backbone_weights="ResNet18_Weights.IMAGENET1K_V1")
    assert check() == []
