"""Weights by name and from files; weights that do not fit are refused with a list of the differences."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision.models import ResNet18_Weights, resnet18
from torchvision.models.detection import retinanet_resnet50_fpn

from distune.config.detector import RetinaNetSettings
from distune.config.pretrained import is_torchvision_name
from distune.detectors.weights import fetch_weights
from distune.detectors.zoo import build_detector
from distune.errors import WeightsError

SMALL: dict[str, Any] = {"family": "retinanet", "backbone": "resnet10", "fpn_channels": 16}


def build(classes: tuple[str, ...] = ("cat", "dog"), *, for_training: bool = True, **settings: Any) -> torch.nn.Module:
    return build_detector(
        RetinaNetSettings(**{**SMALL, **settings}),
        classes=classes,
        min_size_px=64,
        max_size_px=64,
        seed=0,
        for_training=for_training,
    ).model


def test_a_distune_checkpoint_and_a_plain_state_dict_load_whole(tmp_path: Path) -> None:
    source = build_detector(
        RetinaNetSettings(**SMALL), classes=("cat", "dog"), min_size_px=64, max_size_px=64, seed=9
    ).model.state_dict()
    torch.save({"model": source, "classes": ["cat", "dog"]}, tmp_path / "ours.pt")
    torch.save(source, tmp_path / "plain.pt")
    for name in ("ours.pt", "plain.pt"):
        loaded = build(weights=str(tmp_path / name), for_training=False).state_dict()
        assert all(torch.equal(loaded[key], source[key]) for key in source)


def test_parameter_names_are_those_of_torchvision() -> None:
    ours = build_detector(
        RetinaNetSettings(family="retinanet", backbone="resnet50", head="v1"),
        classes=tuple(f"class {index}" for index in range(90)),
        min_size_px=800,
        max_size_px=1333,
        seed=0,
    ).model.state_dict()
    theirs = retinanet_resnet50_fpn(weights=None, weights_backbone=None).state_dict()
    assert {name: value.shape for name, value in ours.items()} == {name: value.shape for name, value in theirs.items()}


def test_a_teacher_of_other_classes_is_refused_by_name(tmp_path: Path) -> None:
    torch.save({"model": build().state_dict(), "classes": ["cat", "dog"]}, tmp_path / "teacher.pt")
    with pytest.raises(WeightsError, match=r"only in the weights: dog; only in the data: owl"):
        build(("cat", "owl"), for_training=False, weights=str(tmp_path / "teacher.pt"))
    with pytest.raises(WeightsError, match=r"order in the weights: cat, dog"):
        build(("dog", "cat"), for_training=False, weights=str(tmp_path / "teacher.pt"))


def test_training_from_other_classes_replaces_the_class_head_alone(tmp_path: Path) -> None:
    source = build(("cat", "dog", "owl")).state_dict()
    torch.save({"model": source, "classes": ["cat", "dog", "owl"]}, tmp_path / "wide.pt")
    loaded = build(("dog",), weights=str(tmp_path / "wide.pt")).state_dict()
    fresh = build(("dog",)).state_dict()
    for name, value in loaded.items():
        expected = fresh if "cls_logits" in name else source
        assert torch.equal(value, expected[name]), name


def test_shapes_and_names_that_differ_are_listed(tmp_path: Path) -> None:
    torch.save(build(fpn_channels=24).state_dict(), tmp_path / "wide.pt")
    with pytest.raises(WeightsError, match=r"shape: backbone\.fpn.*is \(24, .*needs \(16, "):
        build(weights=str(tmp_path / "wide.pt"))
    torch.save({"stem": torch.zeros(2)}, tmp_path / "stranger.pt")
    with pytest.raises(WeightsError, match=r"(?s)missing: backbone.*and \d+ more"):
        build(weights=str(tmp_path / "stranger.pt"))


def test_files_without_weights_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(WeightsError, match="not a file of tensors"):
        fetch_weights(str(tmp_path / "text.pt"))
    with pytest.raises(WeightsError, match="no such file"):
        fetch_weights(str(tmp_path / "absent.pt"))
    torch.save({"a": 1}, tmp_path / "numbers.pt")
    with pytest.raises(WeightsError, match="not a state dict: a"):
        fetch_weights(str(tmp_path / "numbers.pt"))
    with pytest.raises(WeightsError, match="has no such weights"):
        fetch_weights("ResNet18_Weights.NOPE")


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path(tmp_path / "sprung").touch, ())

    with (tmp_path / "trap.pt").open("wb") as file:
        pickle.dump({"model": Trap()}, file, protocol=2)
    with pytest.raises(WeightsError):
        fetch_weights(str(tmp_path / "trap.pt"))
    assert not (tmp_path / "sprung").exists()


def test_backbone_weights_by_torchvision_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = resnet18(weights=None).state_dict()
    monkeypatch.setattr(ResNet18_Weights, "get_state_dict", lambda self, **_: source, raising=False)
    assert is_torchvision_name("ResNet18_Weights.IMAGENET1K_V1")
    loaded = build(backbone="resnet18", backbone_weights="ResNet18_Weights.IMAGENET1K_V1").state_dict()
    assert torch.equal(loaded["backbone.body.layer4.1.conv2.weight"], source["layer4.1.conv2.weight"])


def test_frozen_stages_have_no_gradient() -> None:
    names = {name for name, value in build(trainable_stages=2).named_parameters() if value.requires_grad}
    assert any("layer3" in name for name in names)
    assert not any("layer2" in name or "body.conv1" in name for name in names)
