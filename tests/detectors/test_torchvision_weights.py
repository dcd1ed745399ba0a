"""torchvision's trained detectors by name: each loads whole, and then detects what torchvision's own model detects.

Nothing is downloaded: torchvision's loader is given a state dict of random numbers that its own builder made.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor
from torchvision.models import _api, get_model, get_weight
from torchvision.models.detection import faster_rcnn, fcos, mask_rcnn, retinanet
from torchvision.models.resnet import Bottleneck, ResNet

from distune.config.detector import DetectorSettings
from distune.config.pretrained import PRETRAINED
from distune.detectors import bodies
from distune.detectors.taps import Detector
from distune.detectors.weights import fetch_weights, named_classes
from distune.detectors.zoo import build_detector, build_trained_detector
from distune.errors import WeightsError

# What torchvision's builders set besides the settings that loading needs: ours, and theirs with sizes of this test.
MOBILENET = {"min_proposal_score": 0.05}
OURS: dict[str, dict[str, Any]] = {
    "FasterRCNN_MobileNet_V3_Large_FPN_Weights.COCO_V1": MOBILENET,
    "FasterRCNN_MobileNet_V3_Large_320_FPN_Weights.COCO_V1": MOBILENET | {"evaluated_proposals": 150},
}
V2 = {name for name in PRETRAINED if "_V2_" in name}
FIXED_SIZE = {"SSD300_VGG16_Weights.COCO_V1", "SSDLite320_MobileNet_V3_Large_Weights.COCO_V1"}
SLOW = {"SSD300_VGG16_Weights.COCO_V1"}
SIZE: dict[str, Any] = {"min_size_px": 64, "max_size_px": 96}


def parameters(names: set[str]) -> list[Any]:
    return [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in sorted(names)]


def settings(name: str, **changes: Any) -> DetectorSettings:
    values = {**PRETRAINED[name], **OURS.get(name, {}), "weights": name, **changes}
    if name not in V2 | FIXED_SIZE:
        values["norm"] = "frozen"  # as torchvision's builders do with weights
    return TypeAdapter[DetectorSettings](DetectorSettings).validate_python(values)


def theirs(name: str, weights: Any) -> Any:
    size = {} if name in FIXED_SIZE else {"min_size": 64, "max_size": 96}
    builder = re.sub(r"_weights\..*", "", name.lower())
    builder = {"ssd300_vgg16": "ssd300_vgg16"}.get(builder, builder)
    return get_model(builder, weights=weights, weights_backbone=None, **size).eval()


def random_state(name: str) -> dict[str, Tensor]:
    """The model of torchvision's builder, with numbers that lead to detections and that an epsilon would change."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        state: dict[str, Tensor] = theirs(name, None).state_dict()
        for key, value in state.items():
            if key.endswith("running_var"):
                value.copy_(torch.rand_like(value) + 0.5)
                value[::3] = 1e-4
                state[key.replace("running_var", "weight")][::3] = 0.01
            elif key.endswith("running_mean"):
                value.copy_(torch.randn_like(value) * 0.1)
            elif re.search(r"cls_(score|logits)\.weight|classification_head\.module_list.*weight", key):
                value.mul_(30)
            elif value.dim() == 4 and value.shape[1] == 1:  # depthwise: torchvision's initial values let signals die
                value.mul_(value.shape[0] ** 0.5)
            elif key.endswith("cls_logits.bias"):
                value.zero_()
    return state


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ResNet with one block per stage stands for ResNet-50, on both sides: the same names, less to compute."""

    def resnet(*, weights: Any = None, progress: bool = True, norm_layer: Any = None) -> ResNet:
        return ResNet(Bottleneck, [1, 1, 1, 1], norm_layer=norm_layer)

    own: Callable[..., Any] = get_model
    for module in (faster_rcnn, fcos, mask_rcnn, retinanet):
        monkeypatch.setattr(module, "resnet50", resnet)
    monkeypatch.setattr(bodies, "get_model", lambda n, **kw: resnet(**kw) if n == "resnet50" else own(n, **kw))


def serve(monkeypatch: pytest.MonkeyPatch, state: dict[str, Tensor]) -> None:
    monkeypatch.setattr(_api, "load_state_dict_from_url", lambda *_, **__: dict(state))


def classes_of(name: str) -> tuple[str, ...]:
    return named_classes([name])


def build(name: str, **changes: Any) -> Detector:
    return build_trained_detector(settings(name, **changes), classes=classes_of(name), **SIZE)


@pytest.mark.parametrize("name", sorted(PRETRAINED))
def test_names_and_shapes_are_those_of_torchvision(name: str) -> None:
    with torch.device("meta"):
        expected = theirs(name, None).state_dict()
        ours = build_detector(settings(name).with_weights(None), classes=classes_of(name), seed=0, **SIZE)
    found = ours.model.state_dict()
    counters = {key for key in expected.keys() | found.keys() if key.endswith("num_batches_tracked")}
    assert {key: value.shape for key, value in found.items() if key not in counters} == {
        key: value.shape for key, value in expected.items() if key not in counters
    }


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", parameters(set(PRETRAINED)))
def test_the_same_weights_give_the_same_detections(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, random_state(name))
    ours, reference = build(name).model.eval(), theirs(name, get_weight(name))
    if hasattr(reference, "rpn"):
        for model in (ours, reference):  # fewer proposals, for time
            heads: Any = model
            heads.rpn._pre_nms_top_n["testing"] = heads.rpn._post_nms_top_n["testing"] = 16
    images = [torch.rand(3, 64, 96, generator=torch.Generator().manual_seed(1))]
    with torch.inference_mode():
        found, expected = ours(images)[0], reference(images)[0]
    assert len(expected["labels"]) > 0
    assert found.keys() == expected.keys()
    for key in expected:
        torch.testing.assert_close(found[key], expected[key])


def test_settings_of_proposals_are_those_of_torchvision() -> None:
    for name in ("FasterRCNN_ResNet50_FPN_Weights.COCO_V1", *OURS):
        with torch.device("meta"):
            expected = theirs(name, None)
            ours: Any = build_detector(settings(name).with_weights(None), classes=("cat",), seed=0, **SIZE).model
        assert ours.rpn.score_thresh == expected.rpn.score_thresh
        assert ours.rpn._pre_nms_top_n == expected.rpn._pre_nms_top_n
        assert ours.rpn._post_nms_top_n == expected.rpn._post_nms_top_n
        assert ours.rpn.anchor_generator.sizes == expected.rpn.anchor_generator.sizes


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    "name", ["FasterRCNN_ResNet50_FPN_V2_Weights.COCO_V1", "RetinaNet_ResNet50_FPN_V2_Weights.COCO_V1"]
)
def test_second_versions_are_trained_like_those_of_torchvision(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, random_state(name))
    detector, reference = build(name), theirs(name, get_weight(name))
    images = [torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(1))]
    targets = [{"boxes": torch.tensor([[4.0, 4.0, 40.0, 40.0]]), "labels": torch.tensor([7])}]
    losses = []
    for run in (lambda: detector.forward_train(images, targets).losses, lambda: reference(images, targets)):
        detector.model.eval()  # so that both normalize alike, whoever runs first
        detector.model.training = True
        reference.eval()
        reference.training = True
        for part in (detector.model, reference):
            for module in part.modules():
                if not isinstance(module, torch.nn.BatchNorm2d):
                    module.training = True
        torch.manual_seed(0)
        losses.append(run())
    assert losses[0].keys() == losses[1].keys()
    for key, value in losses[0].items():
        torch.testing.assert_close(value, losses[1][key])


@pytest.mark.usefixtures("small")
def test_names_of_earlier_torchvision_versions_are_renamed(tmp_path: Path) -> None:
    name = "MaskRCNN_ResNet50_FPN_Weights.COCO_V1"
    state = random_state(name)
    old = {
        re.sub(
            r"mask_head\.(\d)\.0",
            lambda found: f"mask_head.mask_fcn{int(found[1]) + 1}",
            key.replace("rpn.head.conv.0.0", "rpn.head.conv"),
        ): value
        for key, value in state.items()
    }
    assert old.keys() != state.keys()
    torch.save(old, tmp_path / "old.pt")
    loaded = build(name, weights=str(tmp_path / "old.pt"), classes=[name]).model.state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in state.items() if key in loaded)

    name = "RetinaNet_ResNet50_FPN_Weights.COCO_V1"
    state = random_state(name)
    old = {re.sub(r"conv\.(\d)\.0\.", lambda found: f"conv.{2 * int(found[1])}.", key): v for key, v in state.items()}
    torch.save(old, tmp_path / "old.pt")
    loaded = build(name, weights=str(tmp_path / "old.pt"), classes=[name]).model.state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in state.items() if key in loaded)


def test_a_failed_download_gives_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError("no network")

    monkeypatch.setattr(_api, "load_state_dict_from_url", fail)
    with pytest.raises(WeightsError, match=r"no network.*download them elsewhere"):
        fetch_weights("FasterRCNN_ResNet50_FPN_Weights.COCO_V1")


def test_classes_by_the_name_of_torchvision_weights() -> None:
    names = named_classes(["first", "FasterRCNN_ResNet50_FPN_Weights.COCO_V1"])
    assert len(names) == 91
    assert names[:3] == ("first", "person", "bicycle")
    with pytest.raises(WeightsError, match="are not of a detector"):
        named_classes(["ResNet18_Weights.IMAGENET1K_V1"])
