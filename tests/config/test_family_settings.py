"""Experiments with detectors of all families: problems found before anything is built."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from distune.config.detector import SsdliteSettings
from distune.config.experiment import Experiment
from support.experiments import small_experiment, small_values

TWO_STAGE: dict[str, Any] = {"backbone": "resnet10", "fpn_channels": 64}
DETECTORS: dict[str, dict[str, Any]] = {
    "fasterrcnn": {"family": "fasterrcnn", **TWO_STAGE},
    "maskrcnn": {"family": "maskrcnn", **TWO_STAGE},
    "retinanet": {"family": "retinanet", "backbone": "resnet10"},
    "fcos": {"family": "fcos", "backbone": "resnet10"},
    "ssd": {"family": "ssd"},
    "ssdlite": {"family": "ssdlite"},
}


def experiment(student: dict[str, Any], teacher: dict[str, Any], **changes: Any) -> Experiment:
    return Experiment.model_validate({**small_values(changes), "student": student, "teacher": teacher})


@pytest.mark.parametrize("student", sorted(DETECTORS))
def test_heads_can_be_compared_where_their_prediction_sites_are_equal(student: str) -> None:
    alike = {"fasterrcnn": {"fasterrcnn", "maskrcnn"}, "maskrcnn": {"fasterrcnn", "maskrcnn"}}.get(student, {student})
    for teacher in DETECTORS:
        pair = (DETECTORS[student], DETECTORS[teacher])
        experiment(*pair, distillation={"soft_labels": {"weight": 0.0}})
        if teacher in alike:
            experiment(*pair)
        else:
            with pytest.raises(ValidationError, match=r"soft_labels\.weight = 1\tmust be 0: "):
                experiment(*pair)


@pytest.mark.parametrize("family", ["ssd", "ssdlite"])
def test_other_input_sizes_are_other_prediction_sites(family: str) -> None:
    with pytest.raises(ValidationError, match=r"anchors on 128 px.*anchors on \d+ px"):
        experiment({"family": family, "input_size_px": 128}, {"family": family})


def test_fcos_of_another_anchor_scale_has_other_prediction_sites() -> None:
    with pytest.raises(ValidationError, match="must be 0: "):
        experiment({**DETECTORS["fcos"], "anchor_scale": 0.5}, DETECTORS["fcos"])


def test_settings_of_other_families_are_unknown() -> None:
    for name, value in {"fpn_channels": 64, "anchor_scale": 0.5, "norm": "batch"}.items():
        for family in ("ssd", "ssdlite"):
            with pytest.raises(ValidationError, match="Extra inputs"):
                experiment({"family": family, name: value}, DETECTORS["ssd"])
    with pytest.raises(ValidationError, match="multiple of 32"):
        experiment({**DETECTORS["fcos"], "fpn_channels": 72}, DETECTORS["fcos"])


@pytest.mark.parametrize("role", ["student", "teacher"])
def test_masks_cannot_be_learned_from_boxes(role: str) -> None:
    roles = {"student": DETECTORS["fasterrcnn"], "teacher": DETECTORS["fasterrcnn"], role: DETECTORS["maskrcnn"]}
    values = {**small_values(), **roles}
    assert Experiment.model_validate(values).learns_masks
    voc = {**values, "data": {"kind": "voc", "root": "/data"}}
    with pytest.raises(ValidationError, match=rf"{role}\.family = maskrcnn\tneeds masks"):
        Experiment.model_validate(voc)
    ready = {**voc, "teacher_training": None, role: {**roles[role], "weights": "some.pt"}}
    if role == "teacher":
        assert not Experiment.model_validate(ready).learns_masks


def test_backbone_weights_of_torchvision_need_the_full_last_stage() -> None:
    weights = "MobileNet_V3_Large_Weights.IMAGENET1K_V2"
    with pytest.raises(ValidationError, match="needs reduce_tail: false"):
        SsdliteSettings(family="ssdlite", backbone_weights=weights)
    SsdliteSettings(family="ssdlite", backbone_weights=weights, reduce_tail=False)


def test_ssdlite_is_not_trained_on_single_images() -> None:
    changes: dict[str, Any] = {"distillation": {"soft_labels": {"weight": 0.0}}, "training": {"batch_size": 1}}
    with pytest.raises(ValidationError, match=r"training\.batch_size = 1\tmust be at least 2"):
        experiment(DETECTORS["ssdlite"], DETECTORS["ssd"], **changes)
    experiment(DETECTORS["ssd"], DETECTORS["ssdlite"], **changes)


def test_only_mask_rcnn_learns_masks() -> None:
    assert not small_experiment().learns_masks
    for family, detector in DETECTORS.items():
        made = experiment(detector, DETECTORS["ssd"], distillation={"soft_labels": {"weight": 0.0}})
        assert made.learns_masks == (family == "maskrcnn")


@pytest.mark.parametrize("term", ["soft_labels", "localization"])
def test_a_two_stage_head_has_no_outputs_at_all_sites(term: str) -> None:
    faster = {"family": "fasterrcnn", "backbone": "resnet10"}
    values = {"student": faster, "teacher": faster, "distillation": {term: {"weight": 1.0, "sites": "all"}}}
    message = f"distillation.{term}.sites = all\tneeds a one-stage student, but student.family is fasterrcnn"
    with pytest.raises(ValidationError, match=message):
        Experiment.model_validate({**small_values(), **values})
    values["distillation"] = {term: {"weight": 1.0, "sites": "positive"}}
    assert Experiment.model_validate({**small_values(), **values}).distillation.terms[term].weight == 1
