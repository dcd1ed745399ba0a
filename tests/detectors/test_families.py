"""The contract of every family: the taps."""

from __future__ import annotations

import math

import pytest
import torch
from torchvision.ops import box_iou, clip_boxes_to_image

from distune.detectors.levels import by_stride, common_strides, probe_levels
from distune.detectors.taps import Frame
from distune.detectors.zoo import FAMILIES
from support.families import CLASSES, SETTINGS, batch, build, freeze_statistics, without_boxes

ORIGINAL = Frame((64, 96), ((64, 96), (64, 64)))
FRAMES = {"ssd": Frame((64, 64), ((64, 64),) * 2), "ssdlite": Frame((128, 128), ((128, 128),) * 2)}
STRIDES = {
    "fasterrcnn": (4, 8, 16, 32, 64),
    "fcos": (8, 16, 32, 64, 128),
    "maskrcnn": (4, 8, 16, 32, 64),
    "retinanet": (8, 16, 32, 64, 128),
    "ssd": (8, 16, 32, 64),
    "ssdlite": (16, 32, 64, 128, 256, 512),
}


def test_every_family_is_tested() -> None:
    assert SETTINGS.keys() == STRIDES.keys() == FAMILIES.keys()


@pytest.mark.parametrize("family", sorted(SETTINGS))
class TestFamily:
    def test_losses_are_those_of_torchvision_bit_for_bit(self, family: str) -> None:
        detector = build(family)
        images, targets = batch()
        detector.model.train()
        torch.manual_seed(3)
        ours = detector.forward_train(images, targets).losses
        torch.manual_seed(3)
        theirs = detector.model(
            images, [{key: target[key] for key in ("boxes", "labels", "masks")} for target in targets]
        )
        assert ours.keys() == theirs.keys()
        for name in ours:
            assert ours[name].requires_grad
            assert torch.equal(ours[name], theirs[name]), name

    def test_instances_are_the_targets_in_the_models_frame(self, family: str) -> None:
        images, targets = batch()
        instances = build(family).forward_train(images, targets).instances
        assert instances.counts == (2, 1)
        assert instances.labels_N.tolist() == [1, 3, 2]
        assert instances.image_of_N.tolist() == [0, 0, 1]
        assert instances.origin_N2.tolist() == [[7, 0], [7, 2], [9, 1]]
        assert instances.frame == FRAMES.get(family, ORIGINAL)
        boxes_N4 = torch.cat([target["boxes"] for target in targets])
        torch.testing.assert_close(instances.seen_in(ORIGINAL).boxes_N4, boxes_N4)

    def test_neck_maps_have_gradient_and_the_size_of_their_stride(self, family: str) -> None:
        images, targets = batch()
        taps = build(family).forward_train(images, targets)
        assert tuple(taps.neck) == STRIDES[family]
        height, width = taps.instances.frame.padded_size
        for stride, each in taps.neck.items():
            assert each.requires_grad
            assert each.shape[-2:] == (math.ceil(height / stride), math.ceil(width / stride))

    def test_positive_sites_point_at_boxes_that_they_overlap(self, family: str) -> None:
        images, targets = batch()
        taps = build(family).forward_train(images, targets)
        sites = taps.prediction_sites
        assert sites.logits_RC.shape == (sites.positive_R.shape[0], len(CLASSES) + 1)
        positive = sites.instance_R[sites.positive_R]
        assert set(positive.tolist()) <= {0, 1, 2}
        assert len(positive) > 2
        assert torch.equal(sites.labels_R[sites.positive_R], taps.instances.labels_N[positive])
        if sites.proposals is not None:
            image_of_R = torch.cat([torch.full((len(each),), index) for index, each in enumerate(sites.proposals)])
            overlap_RN = box_iou(torch.cat(sites.proposals), taps.instances.boxes_N4)
            assert (overlap_RN[sites.positive_R, positive] >= 0.5).all()
        else:
            image_of_R = torch.arange(2).repeat_interleave(len(sites.positive_R) // 2)
        matched_image = taps.instances.image_of_N[sites.instance_R]
        assert torch.equal(matched_image[sites.positive_R], image_of_R[sites.positive_R])

    def test_sites_in_padding_are_those_whose_center_lies_outside_of_their_image(self, family: str) -> None:
        images, targets = batch()
        taps = build(family).forward_train(images, targets)
        sites, frame = taps.prediction_sites, taps.instances.frame
        if sites.in_image is None:
            assert sites.proposals is not None, "proposals are clipped to their image"
            return
        in_image_R = sites.in_image()
        assert in_image_R.dtype == torch.bool
        assert in_image_R.shape == sites.positive_R.shape
        has_padding = {size != frame.padded_size for size in frame.image_sizes}
        assert bool(in_image_R.all()) == (has_padding == {False})
        if True in has_padding:  # of two images, one fills the batch
            for image, in_image_A in enumerate(in_image_R.chunk(2)):
                height, width = frame.image_sizes[image]
                fraction = height * width / (frame.padded_size[0] * frame.padded_size[1])
                assert float(in_image_A.float().mean()) == pytest.approx(fraction, abs=0.1)

    def test_a_teacher_equal_to_the_student_gives_equal_maps_scores_and_boxes(self, family: str) -> None:
        images, targets = batch()
        student, teacher = freeze_statistics(build(family)), build(family)
        taps, seen = student.forward_train(images, targets), teacher.forward_teacher(images)
        assert tuple(taps.neck) == tuple(seen.neck)
        alone = teacher.neck_only(images)
        assert taps.instances.frame == seen.view.frame == alone.frame
        for stride in taps.neck:
            torch.testing.assert_close(taps.neck[stride], seen.neck[stride])
            torch.testing.assert_close(seen.neck[stride], alone.neck[stride])
        torch.testing.assert_close(taps.prediction_sites.logits_RC, seen.logits_at(taps.prediction_sites))
        boxes_R4 = taps.prediction_sites.boxes()
        assert boxes_R4.requires_grad
        assert boxes_R4.shape == (len(taps.prediction_sites.labels_R), 4)
        torch.testing.assert_close(boxes_R4, seen.boxes_at(taps.prediction_sites))

    def test_detections_are_boxes_of_prediction_sites(self, family: str) -> None:
        images, targets = batch()
        detector = freeze_statistics(build(family))
        taps = detector.forward_train(images, targets)
        if taps.prediction_sites.proposals is not None:
            pytest.skip("detections come from other proposals than training does")
        detector.model.eval()
        detector.model.score_thresh = 0.0  # type: ignore[assignment]
        frame = taps.instances.frame
        with torch.no_grad():
            found_d4 = detector.model(images)[0]["boxes"]
            boxes_R4 = taps.prediction_sites.boxes()
        height, width = frame.image_sizes[0]
        boxes_A4 = clip_boxes_to_image(boxes_R4[: len(boxes_R4) // 2], (height, width))
        boxes_A4 = boxes_A4 * torch.tensor([96 / width, 64 / height]).repeat(2)
        assert len(found_d4) > 10
        assert (found_d4[:, None] - boxes_A4).abs().amax(dim=2).amin(dim=1).max() < 1e-3

    def test_forward_teacher_has_no_gradient_and_does_not_change_the_model(self, family: str) -> None:
        images, targets = batch()
        detector = build(family)
        sites = build(family, 1).forward_train(images, targets).prediction_sites
        detector.model.train()
        before = {name: value.clone() for name, value in detector.model.state_dict().items()}
        seen = detector.forward_teacher(images)
        outputs = [seen.logits_at(sites), seen.boxes_at(sites)]
        assert not any(each.requires_grad for each in (*seen.neck.values(), *outputs))
        assert detector.model.training
        assert all(torch.equal(before[name], value) for name, value in detector.model.state_dict().items())

    def test_an_image_without_boxes_and_a_batch_without_boxes(self, family: str) -> None:
        images, targets = batch()
        nothing = [without_boxes(image) for image in images]
        for given in ([targets[0], nothing[1]], nothing):
            taps = build(family).forward_train(images, given)
            total = torch.stack(list(taps.losses.values())).sum()
            assert torch.isfinite(total)
            total.backward()  # type: ignore[no-untyped-call]
            assert bool(taps.prediction_sites.positive_R.any()) == (sum(taps.instances.counts) > 0)
            assert taps.instances.labels_N.shape == (sum(taps.instances.counts),)
            assert taps.instances.origin_N2.shape == (sum(taps.instances.counts), 2)
            assert torch.isfinite(taps.prediction_sites.boxes()).all()

    def test_weights_depend_on_the_seed_and_the_global_state_does_not_change(self, family: str) -> None:
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
            number = 2 if family == "ssdlite" else 1  # bfloat16 may be slow; SSDlite's coarsest maps have one cell
            taps = detector.forward_train(images[:number], targets[:number])
        assert all(torch.isfinite(loss) for loss in taps.losses.values())
        assert taps.prediction_sites.logits_RC.dtype == torch.float32

    def test_frozen_stages_have_no_gradient_and_the_rest_has(self, family: str) -> None:
        images, targets = batch()
        detector = build(family)
        torch.stack(list(detector.forward_train(images, targets).losses.values())).sum().backward()  # type: ignore[no-untyped-call]
        without = [name for name, each in detector.model.named_parameters() if each.requires_grad and each.grad is None]
        assert not without
        frozen = build(family, trainable_stages=1).model
        trained = {name for name, each in frozen.named_parameters() if each.requires_grad}
        every = {name for name, _ in frozen.named_parameters()}
        assert {name for name in every if not name.startswith("backbone.")} < trained < every


def test_strides_common_to_families() -> None:
    probe = torch.zeros(3, 64, 96)
    levels = {family: probe_levels(build(family), probe) for family in ("retinanet", "fasterrcnn", "ssd", "ssdlite")}
    assert common_strides(levels["retinanet"], levels["fasterrcnn"]) == (8, 16, 32, 64)
    assert common_strides(levels["ssd"], levels["fasterrcnn"]) == (8, 16, 32, 64)
    assert common_strides(levels["ssdlite"], levels["retinanet"]) == (16, 32, 64, 128)
    assert levels["ssd"] == {8: 512, 16: 1024, 32: 512, 64: 256}


def test_strides_of_small_images_are_nominal() -> None:
    maps = [torch.zeros(1, 1, side, side) for side in (12, 6, 3, 2, 1)]
    assert list(by_stride(maps, Frame((96, 96), ((96, 96),)))) == [8, 16, 32, 64, 128]
    maps = [torch.zeros(1, 1, side, side) for side in (8, 4, 2, 1, 1)]
    assert list(by_stride(maps, Frame((64, 64), ((64, 64),)))) == [8, 16, 32, 64, 128]
