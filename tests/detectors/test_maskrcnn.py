"""Mask R-CNN compared with Faster R-CNN: equal boxes, and a mask head that trains."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torchvision.models.detection import fcos_resnet50_fpn, maskrcnn_resnet50_fpn

from distune.config.detector import FcosSettings, MaskRcnnSettings
from distune.detectors.maskrcnn import boxes_only
from distune.detectors.zoo import build_detector
from support.families import batch, build


def test_its_boxes_are_those_of_faster_rcnn() -> None:
    images, targets = batch()
    mask, faster = build("maskrcnn"), build("fasterrcnn", 1)
    state = mask.model.state_dict()
    faster.model.load_state_dict({name: value for name, value in state.items() if ".mask_" not in name})
    losses = []
    for detector in (mask, faster):
        torch.manual_seed(0)
        losses.append(detector.forward_train(images, targets).losses)
    assert losses[0].keys() - losses[1].keys() == {"loss_mask"}
    assert all(torch.equal(losses[0][name], value) for name, value in losses[1].items())


def test_the_mask_loss_decreases() -> None:
    images, targets = batch()
    detector = build("maskrcnn")
    parts: Any = detector.model
    optimizer = torch.optim.Adam(parts.roi_heads.mask_predictor.parameters(), lr=0.05)
    values = []
    for _ in range(10):
        torch.manual_seed(0)
        loss = detector.forward_train(images, targets).losses["loss_mask"]
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        values.append(float(loss.detach()))
    assert values[-1] < 0.8 * values[0]


def test_other_masks_give_another_loss_and_no_masks_an_error() -> None:
    images, targets = batch()
    detector = build("maskrcnn")
    losses = []
    for value in (1, 0):
        torch.manual_seed(0)
        given = [{**target, "masks": target["masks"] * value} for target in targets]
        losses.append(detector.forward_train(images, given).losses)
    different = {name for name in losses[0] if not torch.equal(losses[0][name], losses[1][name])}
    assert different == {"loss_mask"}
    with pytest.raises(ValueError, match="masks"):
        detector.forward_train(images, [{"boxes": each["boxes"], "labels": each["labels"]} for each in targets])


def test_boxes_only_skips_the_mask_head_and_does_not_change_the_model() -> None:
    images, _ = batch()
    model: Any = build("maskrcnn").model.eval()
    names = list(model.state_dict())
    with torch.no_grad():
        with_masks = model(images)
        with boxes_only(model):
            without = model(images)
        again = model(images)
    assert "masks" not in without[0]
    assert all(torch.equal(without[0][name], with_masks[0][name]) for name in ("boxes", "scores", "labels"))
    assert torch.equal(again[0]["masks"], with_masks[0]["masks"])
    assert list(model.state_dict()) == names
    plain: Any = build("retinanet").model.eval()
    with boxes_only(plain), torch.no_grad():
        assert set(plain(images)[0]) == {"boxes", "scores", "labels"}


@pytest.mark.parametrize(
    ("settings", "theirs"),
    [
        (MaskRcnnSettings(family="maskrcnn", backbone="resnet50"), maskrcnn_resnet50_fpn),
        (FcosSettings(family="fcos", backbone="resnet50"), fcos_resnet50_fpn),
    ],
)
def test_parameters_are_named_as_in_torchvision(settings: Any, theirs: Any) -> None:
    ours = build_detector(
        settings, classes=[str(number) for number in range(90)], min_size_px=800, max_size_px=1333, seed=0
    ).model.state_dict()
    with torch.device("meta"):
        expected = theirs(weights=None, weights_backbone=None).state_dict()
    assert {name: value.shape for name, value in ours.items()} == {name: each.shape for name, each in expected.items()}
