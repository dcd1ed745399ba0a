"""A detector shrinks images as its training images were shrunk, and enlarges them as torchvision does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision import tv_tensors
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.transforms import v2

from distune.config.detector import RetinaNetSettings
from distune.config.image_size import resized_size
from distune.data.transforms import plain_transform, to_unit_range
from distune.detectors.resizing import SmoothResize, sizes_kept
from distune.detectors.zoo import build_trained_detector
from support.families import CLASSES, SETTINGS, build

SIZE: dict[str, Any] = {"min_size_px": 64, "max_size_px": 96}


def noise(height: int, width: int) -> torch.Tensor:
    return torch.randint(0, 256, (3, height, width), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def as_trained(image: torch.Tensor) -> torch.Tensor:
    """The image as the training stream delivers it."""
    boxes = tv_tensors.BoundingBoxes(torch.zeros(0, 4), format="XYXY", canvas_size=image.shape[-2:])
    empty = torch.zeros(0, dtype=torch.int64)
    sample: dict[str, Any] = {"image": tv_tensors.Image(image), "boxes": boxes, "labels": empty, "box_index": empty}
    resized: torch.Tensor = plain_transform(**SIZE)(sample)["image"]
    return resized


@pytest.mark.parametrize("shape", [(200, 300), (300, 200), (480, 640), (97, 500), (333, 334)])
def test_evaluation_sees_the_images_of_training(shape: tuple[int, int]) -> None:
    transform: Any = build("retinanet").model.eval().transform
    transform.image_mean, transform.image_std = [0.0] * 3, [1.0] * 3
    image = noise(*shape)
    expected = as_trained(image)
    batch, _ = transform([to_unit_range(image)])
    assert batch.image_sizes == [tuple(expected.shape[-2:])]
    shown = batch.tensors[0, :, : expected.shape[-2], : expected.shape[-1]]
    assert (shown - expected).abs().max() < 1 / 255  # training rounds to whole numbers
    plain = GeneralizedRCNNTransform(64, 96, [0.0] * 3, [1.0] * 3).eval()
    without, _ = plain([to_unit_range(image)])
    assert (without.tensors[0, :, : expected.shape[-2], : expected.shape[-1]] - expected).abs().max() > 0.1


@pytest.mark.parametrize("family", ["retinanet", "ssd"])
def test_enlarged_images_are_those_of_torchvision(family: str) -> None:
    transform: Any = build(family).model.eval().transform
    plain = GeneralizedRCNNTransform(
        64, 96, transform.image_mean, transform.image_std, transform.size_divisible, transform.fixed_size
    ).eval()
    image = to_unit_range(noise(40, 50))
    assert torch.equal(transform([image])[0].tensors, plain([image])[0].tensors)


def test_boxes_follow_an_image_that_is_shrunk_in_training() -> None:
    transform: Any = build("ssd").model.train().transform
    target = {"boxes": torch.tensor([[20.0, 30.0, 100.0, 120.0]]), "labels": torch.tensor([1])}
    _, targets = transform([to_unit_range(noise(128, 256))], [target])
    assert targets[0]["boxes"].tolist() == [[5.0, 15.0, 25.0, 60.0]]


def test_weights_of_others_keep_the_resizing_they_were_trained_with(tmp_path: Path) -> None:
    state = build("retinanet").model.state_dict()
    torch.save(state, tmp_path / "plain.pt")
    torch.save({"model": state, "classes": list(CLASSES)}, tmp_path / "own.pt")
    settings = SETTINGS["retinanet"]
    assert isinstance(settings, RetinaNetSettings)
    smooth = {
        name: isinstance(
            build_trained_detector(
                settings.model_copy(update={"weights": str(tmp_path / name)}), classes=CLASSES, **SIZE
            ).model.transform,
            SmoothResize,
        )
        for name in ("plain.pt", "own.pt")
    }
    assert smooth == {"plain.pt": False, "own.pt": True}


@pytest.mark.parametrize(
    ("height", "width", "limits", "expected"),
    [
        (480, 640, (144, 192), (144, 192)),
        (640, 480, (144, 192), (192, 144)),
        (100, 1000, (144, 192), (19, 192)),
        (8, 1600, (96, 128), (0, 128)),
        (50, 50, (96, 96), (96, 96)),
        (428, 640, (192, 192), (128, 192)),
    ],
)
def test_sizes(height: int, width: int, limits: tuple[int, int], expected: tuple[int, int]) -> None:
    assert resized_size(height, width, min_size_px=limits[0], max_size_px=limits[1]) == expected
    if min(expected) > 0:
        least, most = limits
        resize = v2.Resize(None, max_size=most) if least == most else v2.Resize([least], max_size=most)
        assert tuple(resize(torch.zeros(3, height, width)).shape[-2:]) == expected


@pytest.mark.parametrize("family", ["retinanet", "fasterrcnn", "ssd"])
def test_drawn_sizes_reach_a_detector_inside_the_block_only(family: str) -> None:
    detector = build(family)
    transform: Any = detector.model.transform
    images = [to_unit_range(noise(40, 50)), to_unit_range(noise(80, 70))]
    expected = ((64, 64), (64, 64)) if family == "ssd" else ((40, 50), (80, 70))
    with sizes_kept([detector.model]):
        for training in (True, False):
            detector.model.train(training)
            assert detector.forward_teacher(images).view.frame.image_sizes == expected
    assert detector.model.transform is transform
    assert detector.forward_teacher(images).view.frame.image_sizes != ((40, 50), (80, 70))


def test_the_resizing_is_restored_after_an_error() -> None:
    model = build("retinanet").model.eval()
    before = model.transform
    images = [torch.zeros(4, 40, 50)]  # four channels
    with pytest.raises(RuntimeError), sizes_kept([model]):
        model(images)
    assert model.transform is before


@pytest.mark.parametrize("family", ["retinanet", "ssd"])
def test_an_image_in_its_size_is_left_as_it_is(family: str) -> None:
    transform: Any = build(family).model.train().transform
    image, target = torch.rand(3, 64, 64), {"boxes": torch.tensor([[1.0, 2.0, 30.0, 40.0]])}
    resized, boxes = transform.resize(image, dict(target))
    assert resized is image
    assert boxes["boxes"] is target["boxes"]
