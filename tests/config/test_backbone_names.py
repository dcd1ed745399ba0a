"""Names of backbones and of torchvision's trained detectors, against torchvision's own lists."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from torchvision import models
from torchvision.models import detection, get_model_weights, get_weight, list_models

from distune.config.backbones import BACKBONES, SMALL_RESNETS
from distune.config.detector import FasterRcnnSettings, RetinaNetSettings
from distune.config.load import parse_experiment
from distune.config.pretrained import PRETRAINED, WITHOUT_EPSILON
from distune.errors import ConfigError
from support.experiments import small_values

KINDS = ("resnet", "resnext", "wide_resnet", "regnet", "mobilenet_v2", "mobilenet_v3")


def retinanet(**settings: Any) -> RetinaNetSettings:
    return RetinaNetSettings(**{"family": "retinanet", "backbone": "resnet10", **settings})


def problems(changes: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_experiment(small_values(changes), source="test")
    return "\n".join(caught.value.problems)


def test_every_classifier_of_these_kinds_is_a_backbone_and_nothing_else_is() -> None:
    theirs = {name for name in list_models(module=models) if name.startswith(KINDS)}
    assert set(BACKBONES) == theirs | set(SMALL_RESNETS)


def test_every_trained_detector_of_boxes_is_known() -> None:
    theirs = {
        str(weights)
        for name in list_models(module=detection)
        if not name.startswith("keypoint")
        for weights in get_model_weights(name)
    }
    assert set(PRETRAINED) == theirs
    assert set(WITHOUT_EPSILON) < theirs
    for name in theirs:
        assert get_weight(name.replace("COCO_V1", "DEFAULT")) == get_weight(name)


def test_an_unknown_backbone_gives_a_similar_name() -> None:
    found = problems({"student": {"backbone": "regnet_y_400m"}})
    assert 'student.backbone = regnet_y_400m  is not known; did you mean "regnet_y_400mf"?' in found
    assert "timm/<model>" in found


def test_a_name_of_timm_is_not_looked_up_before_the_model_is_built() -> None:
    assert retinanet(backbone="timm/convnext_atto").backbone == "timm/convnext_atto"
    with pytest.raises(ValidationError, match="without a tag"):
        retinanet(backbone="timm/resnet18.a1_in1k")


def test_weights_that_need_other_settings_are_refused_before_anything_is_loaded() -> None:
    found = problems(
        {"teacher": {"weights": "RetinaNet_ResNet50_FPN_Weights.DEFAULT"}, "teacher_training": {"epochs": 1}}
    )
    for needed in ("backbone: resnet50 (not resnet10_025)", "fpn_channels: 256 (not 24)", "head: v1 (not v2)"):
        assert needed in found
    assert "needs family: fasterrcnn" in problems({"student": {"weights": "FasterRCNN_ResNet50_FPN_Weights.COCO_V1"}})


def test_levels_of_mobilenet_need_a_mobilenet() -> None:
    with pytest.raises(
        ValidationError, match="levels: last needs one of the backbones mobilenet_v2, mobilenet_v3_large"
    ):
        FasterRcnnSettings(family="fasterrcnn", backbone="resnet10", levels="last")


def test_epsilon_follows_the_weights_and_stays_when_they_are_replaced() -> None:
    coco = "RetinaNet_ResNet50_FPN_Weights.DEFAULT"
    frozen = retinanet(backbone="resnet50", head="v1", norm="frozen", weights=coco)
    assert frozen.epsilon == 0
    assert frozen.with_weights("checkpoint.pt").epsilon == 0
    assert retinanet(backbone="resnet50", head="v1", norm="batch", weights=coco).epsilon == 1e-5
    assert retinanet(norm="frozen", weights="file.pt").epsilon == 1e-5
    assert retinanet(norm="frozen", weights="file.pt", norm_eps=0.5).epsilon == 0.5
    assert retinanet(norm="own").epsilon is None
    with pytest.raises(ValidationError, match="norm_eps has no effect"):
        retinanet(norm="own", norm_eps=1e-3)
    with pytest.raises(ValidationError, match="more than 0"):
        retinanet(norm="batch", norm_eps=0)


def test_class_lists_without_effect_are_refused() -> None:
    assert "weights is null" in problems({"teacher": {"classes": ["cat"]}})
    aliases = {"weights": "file.pt", "class_aliases": {"circle": "ball"}}
    assert "teacher.class_aliases" in problems({"teacher": aliases})  # which is trained here
    assert "student.class_aliases" in problems({"student": aliases})


def test_input_statistics_are_three_numbers() -> None:
    for wrong in ({"input_mean": [0.5, 0.5]}, {"input_std": [1.0, 1.0, 0.0]}, {"input_std": [1.0]}):
        with pytest.raises(ValidationError):
            retinanet(**wrong)
