"""Backbones of timm if it is installed, and the error if it is not."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from distune.config.detector import RetinaNetSettings
from distune.detectors.zoo import build_detector
from distune.errors import ConfigError, UsageError, WeightsError


def build(backbone: str = "test_resnet", **settings: Any) -> Any:
    found = RetinaNetSettings(**{"family": "retinanet", "backbone": f"timm/{backbone}", "fpn_channels": 8, **settings})
    return build_detector(found, classes=("cat",), min_size_px=64, max_size_px=64, seed=0)


def body(*arguments: Any, **settings: Any) -> Any:
    return build(*arguments, **settings).model.backbone.body


def test_without_timm_the_error_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UsageError, match=r"pip install timm"):
        build()


class TestTimm:
    @pytest.fixture(autouse=True)
    def timm(self) -> Any:
        return pytest.importorskip("timm", reason="the extra timm is not installed")

    @pytest.mark.parametrize(
        ("backbone", "norm"),
        [("test_resnet", "batch"), ("test_efficientnet", "group"), ("test_convnext", "own"), ("regnetx_002", "batch")],
    )
    def test_a_step_reaches_the_backbone(self, backbone: str, norm: str) -> None:
        detector = build(backbone, norm=norm)
        targets = [{"boxes": torch.tensor([[4.0, 4.0, 40.0, 40.0]]), "labels": torch.tensor([1])}]
        taps = detector.forward_train([torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0))], targets)
        assert list(taps.neck) == [8, 16, 32, 64, 128]
        torch.stack(list(taps.losses.values())).sum().backward()  # type: ignore[no-untyped-call]
        assert next(detector.model.backbone.body.parameters()).grad is not None

    def test_an_unknown_model_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="did you mean"):
            build("test_resnett")

    @pytest.mark.parametrize(
        ("norm", "kind"), [("batch", nn.BatchNorm2d), ("frozen", FrozenBatchNorm2d), ("group", nn.GroupNorm)]
    )
    @pytest.mark.parametrize("backbone", ["test_resnet", "test_efficientnet"])
    def test_the_norm_setting_has_an_effect(self, backbone: str, norm: str, kind: type[nn.Module]) -> None:
        kinds = (nn.BatchNorm2d, FrozenBatchNorm2d, nn.GroupNorm)
        found = [each for each in body(backbone, norm=norm, norm_eps=0.25).modules() if isinstance(each, kinds)]
        assert found
        assert all(isinstance(each, kind) and each.eps == 0.25 for each in found)

    def test_activations_inside_norm_layers_are_kept(self) -> None:
        image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            plain, frozen = (body("test_efficientnet", norm=norm).eval()(image) for norm in ("batch", "frozen"))
        for one, other in zip(plain, frozen, strict=True):
            torch.testing.assert_close(one, other)

    def test_a_backbone_without_batch_norm_is_refused(self) -> None:
        with pytest.raises(ConfigError, match=r"norm = frozen: timm/test_convnext has no .* use norm: own"):
            build("test_convnext", norm="frozen")

    def test_maps_of_other_strides_or_sizes_are_refused(self) -> None:
        with pytest.raises(ConfigError, match="none of stride"):
            build("test_vit", norm="own")
        with pytest.raises(ConfigError, match="cannot be run on an image of 64 x 64 px"):
            build("swin_tiny_patch4_window7_224", norm="own")

    @pytest.mark.parametrize("backbone", ["test_resnet", "test_efficientnet", "regnetx_002"])
    def test_stages_are_frozen_from_the_first(self, backbone: str) -> None:
        found = []
        for number in range(6):
            parameters = dict(body(backbone, trainable_stages=number).named_parameters())
            found.append({name for name, value in parameters.items() if value.requires_grad})
        assert found[0] == set()
        assert all(few < more for few, more in itertools.pairwise(found))
        assert found[5] == parameters.keys()

    def test_weights_of_the_whole_classifier_load_and_others_are_refused(self, timm: Any, tmp_path: Path) -> None:
        source = timm.create_model("test_resnet", pretrained=False).state_dict()
        torch.save(source, tmp_path / "weights.pt")
        loaded = body(backbone_weights=str(tmp_path / "weights.pt")).model.state_dict()
        assert loaded.keys() < source.keys()
        assert all(torch.equal(value, source[name]) for name, value in loaded.items())
        torch.save({**source, "stranger": torch.zeros(1)}, tmp_path / "weights.pt")
        with pytest.raises(WeightsError, match="unknown: stranger"):
            build(backbone_weights=str(tmp_path / "weights.pt"))
