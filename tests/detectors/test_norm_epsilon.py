"""The epsilon of frozen batch norms: exact where the file of the weights tells it, else a warning."""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import get_model
from torchvision.ops import FrozenBatchNorm2d

from distune.config.backbones import MOBILENETS
from distune.config.detector import FasterRcnnSettings
from distune.detectors.norm_epsilon import affected_channels, epsilon_of_classifier
from distune.detectors.weights import fetch_weights
from distune.detectors.weights_check import DetectorInUse, check_weights
from distune.detectors.zoo import build_detector, build_trained_detector, with_known_epsilon

COCO = "FasterRCNN_ResNet50_FPN_Weights.COCO_V1"
SMALL: dict[str, Any] = {
    "family": "fasterrcnn",
    "backbone": "resnet10",
    "fpn_channels": 16,
    "box_head_channels": 32,
    "norm": "frozen",
}
SIZE: dict[str, Any] = {"classes": ("cat", "dog"), "min_size_px": 64, "max_size_px": 64}


def settings_of(**changes: Any) -> FasterRcnnSettings:
    return FasterRcnnSettings(**{**SMALL, **changes})


def fine_tuned(*, variance: float = 1e-6) -> dict[str, Tensor]:
    """The state dict of a detector whose norms have channels of small variance."""
    state: dict[str, Tensor] = build_detector(settings_of(), seed=0, **SIZE).model.state_dict()
    for name, value in state.items():
        if name.endswith("running_var"):
            value[0] = variance
    return state


def epsilons(model: nn.Module) -> set[float]:
    return {each.eps for each in model.modules() if isinstance(each, FrozenBatchNorm2d)}


def reference(**arguments: Any) -> argparse.Namespace:
    return argparse.Namespace(model="fasterrcnn_resnet50_fpn", weights_backbone=None, **arguments)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"args": reference(weights=COCO)}, 0.0),
        ({"args": reference(weights=COCO.replace("COCO_V1", "DEFAULT"))}, 0.0),
        ({"args": reference(weights=None)}, 1e-5),
        ({"args": reference(weights="FasterRCNN_ResNet50_FPN_V2_Weights.COCO_V1")}, 1e-5),
        ({"args": reference(weights="mine.pth")}, None),
        ({"args": argparse.Namespace(lr=0.1)}, None),
        ({"args": {"weights": COCO}}, None),
        ({}, None),
        ({"classes": ["cat", "dog"], "detector": {**SMALL, "norm_eps": 0.0}}, 0.0),
        ({"classes": ["cat", "dog"], "detector": {**SMALL, "norm_eps": 1e-3}}, 1e-3),
        ({"classes": ["cat", "dog"], "detector": {**SMALL, "weights": "x.pt"}}, 1e-5),
        ({"classes": ["cat", "dog"], "detector": {**SMALL, "setting_of_the_future": 1}}, None),
    ],
)
def test_what_a_file_tells(tmp_path: Path, content: dict[str, Any], expected: float | None) -> None:
    torch.save({"model": fine_tuned(), **content}, tmp_path / "x.pt")
    assert fetch_weights(str(tmp_path / "x.pt")).norm_eps == expected


def test_a_file_that_torchvision_publishes_is_known_by_its_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save(fine_tuned(), tmp_path / "renamed.pt")

    class Digest:
        def __init__(self, *_: Any) -> None: ...

        def hexdigest(self) -> str:
            return "258fb6c6" + 56 * "0"  # of FasterRCNN_ResNet50_FPN_Weights.COCO_V1

    monkeypatch.setattr(hashlib, "file_digest", Digest)
    assert fetch_weights(str(tmp_path / "renamed.pt")).norm_eps == 0


@pytest.mark.parametrize("is_trained", [True, False])
def test_detectors_get_the_epsilon_of_their_weights(tmp_path: Path, *, is_trained: bool) -> None:
    torch.save({"model": fine_tuned(), "args": reference(weights=COCO)}, tmp_path / "x.pt")

    def built(**changes: Any) -> nn.Module:
        settings = settings_of(weights=str(tmp_path / "x.pt"), **changes)
        if is_trained:
            return build_detector(settings, seed=0, **SIZE).model
        return build_trained_detector(settings, **SIZE).model

    assert epsilons(built()) == {0.0}
    assert epsilons(built(norm_eps=1e-4)) == {1e-4}, "the settings come first"
    assert not epsilons(built(norm="batch")), "batch norms need an epsilon above 0"


def test_a_record_of_the_detector_keeps_the_epsilon(tmp_path: Path) -> None:
    torch.save({"model": fine_tuned(), "args": reference(weights=COCO)}, tmp_path / "given.pt")
    given = settings_of(weights=str(tmp_path / "given.pt"))
    recorded = with_known_epsilon(given)
    assert recorded.model_dump() == {**given.model_dump(), "norm_eps": 0.0}
    content = {"model": fine_tuned(), "classes": ["cat", "dog"], "detector": recorded.model_dump(mode="json")}
    torch.save(content, tmp_path / "best.pt")
    assert epsilons(build_trained_detector(given.with_weights(str(tmp_path / "best.pt")), **SIZE).model) == {0.0}
    assert with_known_epsilon(settings_of()) == settings_of()


def lines(**changes: Any) -> list[str]:
    sizes = {"min_size_px": 64, "max_size_px": 64}
    detector = DetectorInUse(
        role="teacher", settings=settings_of(**changes), is_trained=False, classes=("cat", "dog"), needed_by=(), **sizes
    )
    return check_weights(detector, download=False)


def test_an_epsilon_that_is_not_known_is_a_warning_that_names_the_setting(tmp_path: Path) -> None:
    file = str(tmp_path / "plain.pt")
    torch.save(fine_tuned(), file)
    (line,) = lines(weights=file)
    assert line.startswith("warning: teacher.norm_eps: the file of teacher.weights does not tell the epsilon")
    assert "set teacher.norm_eps: 0 if" in line
    assert lines(weights=file, norm_eps=0.0) == lines(weights=file, norm="batch") == []
    torch.save(fine_tuned(variance=1.0), file)
    assert lines(weights=file) == [], "it has no effect"


@pytest.mark.parametrize("norm", ["batch", "frozen"])
def test_weights_of_a_classifier_of_another_epsilon_are_a_warning(
    norm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    name = "MobileNet_V3_Small_Weights.IMAGENET1K_V1"
    given = {"backbone": "mobilenet_v3_small", "backbone_weights": name, "norm": norm}
    _, line = lines(**given)
    assert line == (
        "warning: teacher.norm_eps: the classifier mobilenet_v3_small, whose weights teacher.backbone_weights are, has "
        "batch norms of epsilon 0.001, and 1e-05 is used; set teacher.norm_eps: 0.001"
    )
    assert len(lines(**given, norm_eps=0.001)) == len(lines(**{**given, "norm": "own"})) == 1
    assert len(lines(backbone="resnet18", backbone_weights="ResNet18_Weights.IMAGENET1K_V1", norm=norm)) == 1


@pytest.mark.parametrize("backbone", [*MOBILENETS, "resnet18", "resnext50_32x4d", "regnet_x_400mf", "regnet_y_400mf"])
def test_epsilons_of_torchvisions_classifiers(backbone: str) -> None:
    built = {each.eps for each in get_model(backbone).modules() if isinstance(each, nn.BatchNorm2d)}
    assert built == {epsilon_of_classifier(backbone)} == {1e-3 if "v3" in backbone else 1e-5}


def test_epsilons_of_other_classifiers() -> None:
    assert epsilon_of_classifier("resnet10") is None
    if importlib.util.find_spec("timm") is None:
        pytest.skip("timm is not installed")
    assert epsilon_of_classifier("timm/tf_efficientnet_lite0") == 1e-3
    assert epsilon_of_classifier("timm/efficientnet_lite0") == 1e-5
    assert epsilon_of_classifier("timm/convnext_atto") is None
    assert epsilon_of_classifier("timm/no_such_model") is None


def test_channels_that_an_epsilon_changes() -> None:
    state = {"backbone.bn.running_var": torch.tensor([1e-6, 1e-3, 1.0]), "head.bn.running_var": torch.zeros(1)}
    assert affected_channels(state, epsilon=1e-5) == 2
    assert affected_channels(state, epsilon=0.0) == 0
