"""Teachers with other class lists than the data: classes are matched by name, and outputs are mapped."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from distune.config.detector import DetectorSettings
from distune.detectors.classes import (
    ClassTable,
    RelabelledTeacher,
    class_table,
    in_classes_of_data,
    match_classes,
    refuse_unknown,
)
from distune.detectors.taps import Detector, PredictionSites
from distune.detectors.weights import named_classes
from distune.detectors.zoo import build_detector, build_trained_detector
from distune.errors import WeightsError

SMALL: dict[str, dict[str, Any]] = {
    "fasterrcnn": {"backbone": "resnet10", "fpn_channels": 16, "box_head_channels": 32, "proposals_per_image": 16},
    "retinanet": {"backbone": "resnet10", "fpn_channels": 16},
}
OWN = ("bird", "cat", "dog", "owl")
DATA = ("owl", "cat")
SIZE: dict[str, Any] = {"min_size_px": 64, "max_size_px": 64}


def settings_of(family: str, **changes: Any) -> DetectorSettings:
    values = {"family": family, "anchor_scale": 0.5, **SMALL[family], **changes}
    return TypeAdapter[DetectorSettings](DetectorSettings).validate_python(values)


def own_detector(family: str, classes: tuple[str, ...] = OWN) -> Detector:
    detector = build_detector(settings_of(family), classes=classes, seed=5, **SIZE)
    generator = torch.Generator().manual_seed(0)
    for value in detector.model.state_dict().values():  # so that scores of classes differ
        if value.is_floating_point() and value.dim() == 1:
            value.add_(0.3 * torch.rand(value.shape, generator=generator))
    return detector


def saved(detector: Detector, path: Path, classes: tuple[str, ...] | None) -> str:
    state = detector.model.state_dict()
    torch.save(state if classes is None else {"model": state, "classes": list(classes)}, path)
    return str(path)


def student_sites(family: str, images: list[Tensor], targets: list[dict[str, Tensor]]) -> PredictionSites:
    student = build_detector(settings_of(family), classes=DATA, seed=1, **SIZE)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # two-stage families sample proposals: some seeds sample none of one class
        return student.forward_train(images, targets).prediction_sites


def batch() -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    images = [torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(index)) for index in range(2)]
    targets = [
        {"boxes": torch.tensor([[4.0, 4.0, 40.0, 40.0], [30.0, 20.0, 60.0, 60.0]]), "labels": torch.tensor([1, 2])},
        {"boxes": torch.tensor([[10.0, 10.0, 30.0, 50.0]]), "labels": torch.tensor([2])},
    ]
    return images, targets


class TestMatching:
    def test_classes_are_found_by_name_in_any_order(self) -> None:
        table = match_classes(DATA, OWN, aliases={}, source="file")
        assert table.teacher_labels == (4, 2)
        assert table.known == DATA
        assert table.unknown == ()
        assert table.labels_among(DATA).tolist() == [0, 0, 2, 0, 1]
        assert table.labels_among(("cat",)).tolist() == [0, 0, 1, 0, 0]
        assert not table.is_identity
        assert match_classes(OWN, OWN, aliases={}, source="file").is_identity
        assert not match_classes(OWN[:3], OWN, aliases={}, source="file").is_identity

    def test_an_alias_maps_a_class_to_the_teachers_name(self) -> None:
        assert match_classes(("kitten", "owl"), OWN, aliases={"kitten": "cat"}, source="file").teacher_labels == (2, 4)
        swapped = match_classes(("cat", "dog"), ("cat", "dog"), aliases={"cat": "dog", "dog": "cat"}, source="file")
        assert swapped.teacher_labels == (2, 1)
        for aliases, message in (
            ({"mouse": "cat"}, "mouse is no class of the data"),
            ({"owl": "mouse"}, "mouse is no class of the weights"),
            ({"owl": "cat"}, "cat stands for two classes of the data"),
        ):
            with pytest.raises(WeightsError, match=f"{message}\n  classes of the data: owl, cat\n  classes of the w"):
                match_classes(DATA, OWN, aliases=aliases, source="file")

    def test_unknown_classes_are_refused_with_both_lists_if_needed(self) -> None:
        table = match_classes(("owl", "fox"), OWN, aliases={}, source="file")
        assert table.teacher_labels == (4, 0)
        assert (table.known, table.unknown) == (("owl",), ("fox",))
        refuse_unknown(table, needed_by=(), source="file")
        with pytest.raises(
            WeightsError, match=r"(?s)lack fox, which soft_labels .*data: owl, fox.*bird, cat, dog, owl"
        ):
            refuse_unknown(table, needed_by=["soft_labels"], source="file")

    def test_repeated_names_do_not_match(self) -> None:
        coco = named_classes(["FasterRCNN_ResNet50_FPN_Weights.COCO_V1"])
        table = match_classes(("N/A", "toothbrush", "person"), coco, aliases={}, source="file")
        assert table.teacher_labels == (0, 90, 1)
        assert match_classes(coco, coco, aliases={}, source="file").is_identity


@settings(max_examples=30)
@given(st.integers(1, 6).flatmap(lambda k: st.tuples(st.just(k), st.permutations(range(1, k + 1)), st.integers(1, k))))
def test_softmax_keeps_probabilities_and_adds_the_rest_to_background(drawn: tuple[int, list[int], int]) -> None:
    num_own, order, num_data = drawn
    own_labels = [0, *order[:num_data]]
    logits_RK = 3 * torch.randn(4, num_own + 1, generator=torch.Generator().manual_seed(num_own))
    found_RC = in_classes_of_data(logits_RK, torch.tensor(own_labels), score_kind="softmax").softmax(dim=1)
    own_RK = logits_RK.softmax(dim=1)
    for row in range(4):
        for label, own_label in enumerate(own_labels[1:], start=1):
            assert float(found_RC[row, label]) == pytest.approx(float(own_RK[row, own_label]), rel=1e-5)
        rest = sum(float(own_RK[row, k]) for k in range(num_own + 1) if k not in own_labels[1:])
        assert float(found_RC[row, 0]) == pytest.approx(rest, rel=1e-4, abs=1e-6)


def test_sigmoid_scores_do_not_change() -> None:
    logits_RK = torch.randn(5, 5, generator=torch.Generator().manual_seed(0))
    found_RC = in_classes_of_data(logits_RK, torch.tensor([0, 4, 2]), score_kind="sigmoid")
    assert torch.equal(found_RC, torch.stack([logits_RK[:, 0], logits_RK[:, 4], logits_RK[:, 2]], dim=1))


@pytest.mark.parametrize("family", sorted(SMALL))
class TestTeacher:
    def test_outputs_are_in_the_classes_of_the_data(self, family: str, tmp_path: Path) -> None:
        own = own_detector(family)
        weights = saved(own, tmp_path / "teacher.pt", OWN)
        teacher = build_trained_detector(settings_of(family, weights=weights), classes=DATA, needed_by=["a"], **SIZE)
        assert class_table(teacher) == ClassTable(DATA, OWN, (4, 2))
        images, targets = batch()
        sites = student_sites(family, images, targets)
        seen, own_seen = teacher.forward_teacher(images), own.forward_teacher(images)
        own_labels = torch.tensor([0, 4, 2])[sites.labels_R]
        own_sites = dataclasses.replace(sites, labels_R=own_labels)
        own_logits = own_seen.logits_at(own_sites)
        logits = seen.logits_at(sites)
        assert logits.shape == sites.logits_RC.shape
        assert torch.equal(logits[:, 1:], own_logits[:, [4, 2]])
        assert torch.equal(seen.boxes_at(sites), own_seen.boxes_at(own_sites))
        if family == "fasterrcnn":
            expected = own_logits.softmax(dim=1)[:, [0, 1, 3]].sum(dim=1)
            torch.testing.assert_close(logits.softmax(dim=1)[:, 0], expected)
            assert not torch.equal(seen.boxes_at(sites), own_seen.boxes_at(sites))  # each class has its own box
        for stride, each in seen.neck.items():
            assert torch.equal(each, own_seen.neck[stride])
        for stride, each in teacher.neck_only(images).neck.items():
            assert torch.equal(each, own_seen.neck[stride])

    def test_equal_class_lists_need_no_mapping(self, family: str, tmp_path: Path) -> None:
        weights = saved(own_detector(family), tmp_path / "teacher.pt", OWN)
        teacher = build_trained_detector(settings_of(family, weights=weights), classes=OWN, **SIZE)
        assert not isinstance(teacher, RelabelledTeacher)

    def test_a_teacher_that_lacks_classes_gives_only_its_neck(self, family: str, tmp_path: Path) -> None:
        weights = saved(own_detector(family), tmp_path / "teacher.pt", OWN)
        given = settings_of(family, weights=weights)
        with pytest.raises(WeightsError, match=r"trained on other classes .* lack fox, which soft_labels would need"):
            build_trained_detector(given, classes=("owl", "fox"), needed_by=["soft_labels"], **SIZE)
        teacher = build_trained_detector(given, classes=("owl", "fox"), **SIZE)
        images, targets = batch()
        sites = student_sites(family, images, targets)
        seen = teacher.forward_teacher(images)
        assert len(seen.neck) == 5
        with pytest.raises(AssertionError):
            seen.logits_at(sites)

    def test_the_settings_give_the_classes_of_a_plain_state_dict(self, family: str, tmp_path: Path) -> None:
        weights = saved(own_detector(family), tmp_path / "plain.pt", None)
        named = build_trained_detector(settings_of(family, weights=weights, classes=list(OWN)), classes=DATA, **SIZE)
        assert class_table(named) == ClassTable(DATA, OWN, (4, 2))
        assert class_table(build_trained_detector(settings_of(family, weights=weights), classes=OWN, **SIZE)) is None
        with pytest.raises(WeightsError, match=r"(?s)shape: .*name no classes; .* list them in the setting `classes`"):
            build_trained_detector(settings_of(family, weights=weights), classes=DATA, **SIZE)

    def test_settings_that_contradict_the_file_are_refused(self, family: str, tmp_path: Path) -> None:
        weights = saved(own_detector(family), tmp_path / "teacher.pt", OWN)
        with pytest.raises(WeightsError, match="order in the weights: bird, cat, dog, owl"):
            build_trained_detector(settings_of(family, weights=weights, classes=list(OWN[::-1])), classes=DATA, **SIZE)

    def test_training_from_a_state_dict_of_other_classes_replaces_their_head(self, family: str, tmp_path: Path) -> None:
        weights = saved(own_detector(family, DATA), tmp_path / "plain.pt", None)
        heads = []
        for changes in ({}, {"classes": list(DATA)}, {"classes": list(DATA[::-1])}):
            given = settings_of(family, weights=weights, **changes)
            state = build_detector(given, classes=DATA, seed=1, **SIZE).model.state_dict()
            heads.append(next(value for name, value in state.items() if is_class_head(name)))
        assert torch.equal(heads[0], heads[1])
        assert not torch.equal(heads[0], heads[2])


def is_class_head(name: str) -> bool:
    return name.endswith(("cls_score.weight", "classification_head.cls_logits.weight"))


def test_mapping_does_not_wait_for_the_device() -> None:
    class Refuse(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            assert "local_scalar_dense" not in str(func)
            assert "nonzero" not in str(func)
            return func(*args, **(kwargs or {}))

    logits_RK, own_labels_C = torch.zeros(3, 5), torch.tensor([0, 4, 2])
    with Refuse():  # type: ignore[no-untyped-call]
        in_classes_of_data(logits_RK, own_labels_C, score_kind="softmax")
        assert isinstance(own_labels_C[torch.tensor([1, 0])], Tensor)
