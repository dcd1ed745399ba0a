"""One contract for every family: what the taps hand out."""

from __future__ import annotations

import pytest
import torch

from distune.config.detector import DetectorSettings, FasterRcnnSettings, RetinaNetSettings
from distune.detectors.levels import by_stride, common_strides
from distune.detectors.taps import Detector
from distune.detectors.zoo import FAMILIES, build_detector

SETTINGS: dict[str, DetectorSettings] = {
    "fasterrcnn": FasterRcnnSettings(
        family="fasterrcnn",
        backbone="resnet10",
        fpn_channels=16,
        box_head_channels=32,
        proposals_per_image=16,
        anchor_scale=0.5,
    ),
    "retinanet": RetinaNetSettings(family="retinanet", backbone="resnet10", fpn_channels=16, anchor_scale=0.5),
}
CLASSES = ("cat", "dog", "owl")


def build(family: str, seed: int = 0) -> Detector:
    return build_detector(SETTINGS[family], classes=CLASSES, min_size_px=64, max_size_px=96, seed=seed)


def batch() -> tuple[list[torch.Tensor], list[dict[str, torch.Tensor]]]:
    generator = torch.Generator().manual_seed(1)
    images = [torch.rand(3, 64, 96, generator=generator), torch.rand(3, 64, 64, generator=generator)]
    targets = [
        {
            "boxes": torch.tensor([[4.0, 4.0, 40.0, 40.0], [50.0, 10.0, 90.0, 60.0]]),
            "labels": torch.tensor([1, 3]),
            "image_index": torch.tensor(7),
            "box_index": torch.tensor([0, 2]),
        },
        {
            "boxes": torch.tensor([[10.0, 10.0, 30.0, 50.0]]),
            "labels": torch.tensor([2]),
            "image_index": torch.tensor(9),
            "box_index": torch.tensor([1]),
        },
    ]
    return images, targets


def test_every_family_is_under_contract() -> None:
    assert SETTINGS.keys() == FAMILIES.keys()


@pytest.mark.parametrize("family", sorted(SETTINGS))
class TestFamily:
    def test_losses_are_those_of_torchvision_bit_for_bit(self, family: str) -> None:
        detector = build(family)
        images, targets = batch()
        detector.model.train()
        torch.manual_seed(3)
        ours = detector.learn(images, targets).losses
        torch.manual_seed(3)
        theirs = detector.model(images, [{key: target[key] for key in ("boxes", "labels")} for target in targets])
        assert ours.keys() == theirs.keys()
        for name in ours:
            assert torch.equal(ours[name], theirs[name]), name

    def test_instances_are_the_targets(self, family: str) -> None:
        images, targets = batch()
        instances = build(family).learn(images, targets).instances
        assert instances.counts == (2, 1)
        assert instances.labels_N.tolist() == [1, 3, 2]
        assert instances.image_of_N.tolist() == [0, 0, 1]
        assert instances.origin_N2.tolist() == [[7, 0], [7, 2], [9, 1]]
        assert instances.image_size == (64, 96)
        torch.testing.assert_close(instances.boxes_N4, torch.cat([target["boxes"] for target in targets]))

    def test_neck_maps_have_gradient_and_the_size_of_their_stride(self, family: str) -> None:
        images, targets = batch()
        taps = build(family).learn(images, targets)
        assert len(taps.neck) == 5
        for stride, each in taps.neck.items():
            assert each.requires_grad
            if stride <= 32:
                assert each.shape == (2, 16, 64 // stride, 96 // stride)

    def test_positive_places_point_at_boxes_that_they_overlap(self, family: str) -> None:
        images, targets = batch()
        taps = build(family).learn(images, targets)
        scores = taps.scores
        assert scores.logits_RC.shape == (scores.positive_R.shape[0], len(CLASSES) + 1)
        assert scores.positive_R.any()
        assert set(scores.instance_R[scores.positive_R].tolist()) <= {0, 1, 2}
        if scores.proposals is not None:
            image_of_R = torch.cat([torch.full((len(each),), index) for index, each in enumerate(scores.proposals)])
        else:
            image_of_R = torch.arange(2).repeat_interleave(len(scores.positive_R) // 2)
        matched_image = taps.instances.image_of_N[scores.instance_R]
        assert torch.equal(matched_image[scores.positive_R], image_of_R[scores.positive_R])

    def test_a_teacher_equal_to_the_student_gives_equal_maps_and_scores(self, family: str) -> None:
        images, targets = batch()
        student, teacher = build(family), build(family)
        for each in student.model.modules():
            if isinstance(each, torch.nn.BatchNorm2d):
                each.eval()  # so that training and evaluation compute the same
        taps, seen = student.learn(images, targets), teacher.observe(images)
        for stride in taps.neck:
            torch.testing.assert_close(taps.neck[stride], seen.neck[stride])
        torch.testing.assert_close(taps.scores.logits_RC, seen.logits_at(taps.scores))

    def test_observing_leaves_no_gradient_and_no_trace(self, family: str) -> None:
        images, _ = batch()
        detector = build(family)
        detector.model.train()
        before = {name: value.clone() for name, value in detector.model.state_dict().items()}
        seen = detector.observe(images)
        assert not any(each.requires_grad for each in seen.neck.values())
        assert detector.model.training
        assert all(torch.equal(before[name], value) for name, value in detector.model.state_dict().items())

    def test_an_image_without_boxes_and_a_batch_without_boxes(self, family: str) -> None:
        images, targets = batch()
        empty = {
            "boxes": torch.zeros(0, 4),
            "labels": torch.zeros(0, dtype=torch.int64),
            "image_index": torch.tensor(1),
            "box_index": torch.zeros(0, dtype=torch.int64),
        }
        for given in ([targets[0], empty], [empty, empty]):
            taps = build(family).learn(images, given)
            assert all(torch.isfinite(loss) for loss in taps.losses.values())
            assert taps.instances.labels_N.shape == (sum(taps.instances.counts),)
            assert taps.instances.origin_N2.shape == (sum(taps.instances.counts), 2)

    def test_the_seed_decides_the_weights_and_the_global_state_is_left_alone(self, family: str) -> None:
        torch.manual_seed(5)
        expected = torch.rand(3)
        torch.manual_seed(5)
        first, again, other = build(family, 1), build(family, 1), build(family, 2)
        assert torch.equal(torch.rand(3), expected)
        states = [each.model.state_dict() for each in (first, again, other)]
        assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
        assert any(not torch.equal(states[0][name], states[2][name]) for name in states[0])

    def test_boxes_stay_exact_in_bfloat16(self, family: str) -> None:
        detector = build(family)
        images = [torch.rand(3, 64, 96, generator=torch.Generator().manual_seed(2))]
        detector.model.eval()
        seen: list[torch.Tensor] = []
        for name, module in detector.model.named_modules():
            if name.endswith("anchor_generator"):
                module.register_forward_hook(lambda _module, _inputs, anchors: seen.extend(anchors))
        with torch.no_grad():
            detector.model(images)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                found = detector.model(images)[0]
        assert torch.equal(seen[0], seen[1])
        assert seen[1].dtype == found["boxes"].dtype == found["scores"].dtype == torch.float32

    def test_a_step_in_bfloat16_is_finite(self, family: str) -> None:
        detector = build(family)
        images, targets = batch()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            taps = detector.learn(images, targets)
        assert all(torch.isfinite(loss) for loss in taps.losses.values())
        assert taps.scores.logits_RC.dtype == torch.float32


def test_strides_common_to_both_families() -> None:
    probe = torch.zeros(3, 64, 96)
    assert common_strides(build("retinanet"), build("fasterrcnn"), probe) == (8, 16, 32, 64)


def test_strides_of_small_images_are_nominal() -> None:
    maps = [torch.zeros(1, 1, side, side) for side in (12, 6, 3, 2, 1)]
    assert list(by_stride(maps, (96, 96))) == [8, 16, 32, 64, 128]
    maps = [torch.zeros(1, 1, side, side) for side in (8, 4, 2, 1, 1)]
    assert list(by_stride(maps, (64, 64))) == [8, 16, 32, 64, 128]
