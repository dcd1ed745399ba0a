"""The localization losses against their equations."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torchvision.ops import generalized_box_iou_loss

from distune.config.terms import LocalizationSettings
from distune.distillation.terms.localization import (
    DenseForm,
    Form,
    SiteWeight,
    dense_localization_loss,
    generalized_iou_loss,
    localization_loss,
    site_importance,
)

FORMS: list[Form] = ["giou", "smooth_l1", "bounded"]
Boxes = tuple[Tensor, Tensor, Tensor]


def boxes_near(truth_R4: Tensor, spread: float, generator: torch.Generator) -> Tensor:
    sides_R2 = truth_R4[:, 2:] - truth_R4[:, :2]
    moved_R4 = truth_R4 + spread * torch.randn(truth_R4.shape, generator=generator) * sides_R2.repeat(1, 2)
    return torch.cat([moved_R4[:, :2], torch.maximum(moved_R4[:, 2:], moved_R4[:, :2] + 1)], dim=1)


def sample(seed: int = 0, count: int = 12) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    corner_R2, sides_R2 = 60 * torch.rand(2, count, 2, generator=generator)
    truth_R4 = torch.cat([corner_R2, corner_R2 + sides_R2 + 4], dim=1)
    student_R4, teacher_R4 = (boxes_near(truth_R4, spread, generator) for spread in (0.4, 0.3))
    return (
        student_R4,
        teacher_R4,
        truth_R4,
        torch.rand(count, generator=generator),
        torch.rand(count, generator=generator) < 0.7,
    )


def literal_giou(box: list[float], other: list[float]) -> float:
    width = max(0.0, min(box[2], other[2]) - max(box[0], other[0]))
    height = max(0.0, min(box[3], other[3]) - max(box[1], other[1]))
    union = sum((x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in (box, other)) - width * height
    hull = (max(box[2], other[2]) - min(box[0], other[0])) * (max(box[3], other[3]) - min(box[1], other[1]))
    return 1 - width * height / union + (hull - union) / hull


def literal_sides(box: list[float], other: list[float], truth: list[float]) -> float:
    total = 0.0
    for k in range(4):
        size = max(1.0, truth[k % 2 + 2] - truth[k % 2])
        difference = abs(box[k] - other[k]) / size
        total += difference**2 / 2 if difference < 1 else difference - 0.5
    return total


def literal(student: Tensor, teacher: Tensor, truth: Tensor, weights: Tensor, positive: Tensor, **how: object) -> float:
    total, count = 0.0, 0
    for r, (s, t, y) in enumerate(zip(student.tolist(), teacher.tolist(), truth.tolist(), strict=True)):
        if not positive[r]:
            continue
        count += 1
        if how["form"] == "giou":
            distance = literal_giou(s, t)
        else:
            distance = literal_sides(s, t, y)
            is_better = literal_sides(s, y, y) + float(str(how["margin"])) <= literal_sides(t, y, y)
            if how["form"] == "bounded" and is_better:
                distance = 0.0
        total += float(weights[r]) * distance
    return total / max(1, count)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("margin", [0.0, 0.2])
def test_equals_its_equation(seed: int, form: Form, margin: float) -> None:
    values = sample(seed)
    found = float(localization_loss(*values, form=form, margin=margin))
    assert found == pytest.approx(literal(*values, form=form, margin=margin), rel=1e-5)
    assert found > 0


def test_overlap_is_torchvisions() -> None:
    student, teacher = sample(count=200)[:2]
    far = student + 500
    for ours, theirs in ((student, teacher), (far, teacher), (student, student)):
        expected = generalized_box_iou_loss(ours, theirs)
        assert torch.allclose(generalized_iou_loss(ours, theirs), expected, atol=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_equal_boxes_do_not_differ_also_without_area(form: Form) -> None:
    student, _, truth, weights, positive = sample()
    flat = torch.cat([student[:, :2], student[:, :1], student[:, 3:]], dim=1)
    points = student[:, :2].repeat(1, 2)
    for boxes in (student, flat, points):
        assert float(localization_loss(boxes, boxes.clone(), truth, weights, positive, form=form, margin=0.1)) == 0
    assert generalized_iou_loss(points, student + 100).min() > 1
    assert generalized_iou_loss(points, points + 100).tolist() == pytest.approx([1.0] * len(points))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("scale", [0.5, 8.0])
def test_does_not_depend_on_the_size_of_the_images(form: Form, scale: float) -> None:
    student, teacher, truth, weights, positive = sample()
    before = localization_loss(student, teacher, truth, weights, positive, form=form, margin=0.1)
    scaled = (scale * student, scale * teacher, scale * truth)
    after = localization_loss(*scaled, weights, positive, form=form, margin=0.1)
    assert float(before) == pytest.approx(float(after), rel=1e-5)


def test_bounded_is_0_where_the_student_is_better_by_the_margin() -> None:
    truth = torch.tensor([[0.0, 0, 10, 10]]).repeat(3, 1)
    teacher = truth + torch.tensor([2.0, 0, 0, 0])  # error 0.02
    student = truth + torch.tensor([[0.0, 0, 0, 0], [1.0, 0, 0, 0], [3.0, 0, 0, 0]])  # errors 0, 0.005, 0.045
    touched = []
    for margin in (0.0, 0.016, 1.0):
        student = student.detach().requires_grad_()
        ones, all_sites = torch.ones(3), torch.ones(3, dtype=torch.bool)
        loss = localization_loss(student, teacher, truth, ones, all_sites, form="bounded", margin=margin)
        torch.autograd.backward(loss)
        assert student.grad is not None
        touched.append((student.grad.abs().sum(dim=1) > 0).tolist())
    assert touched == [[False, False, True], [False, True, True], [True, True, True]]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("value", [torch.nan, torch.inf, 0.0, -1e30])
def test_sites_that_are_not_positive_have_no_effect(form: Form, value: float) -> None:
    student, teacher, truth, weights, positive = sample()
    expected = localization_loss(student, teacher, truth, weights, positive, form=form, margin=0.0)
    student, teacher = (torch.where(positive[:, None], boxes, value) for boxes in (student, teacher))
    student.requires_grad_()
    loss = localization_loss(student, teacher, truth, weights, positive, form=form, margin=0.0)
    torch.autograd.backward(loss)
    assert float(loss.detach()) == pytest.approx(float(expected))
    assert student.grad is not None
    assert student.grad.isfinite().all()
    assert not student.grad[~positive].any()
    assert bool((student.grad[positive].abs().sum(dim=1) > 0).any())


@pytest.mark.parametrize("form", FORMS)
def test_gradient_reaches_the_student_alone(form: Form) -> None:
    values = sample()
    for each in values[:4]:
        each.requires_grad_()
    torch.autograd.backward(localization_loss(*values, form=form, margin=1.0))
    assert values[0].grad is not None
    assert torch.equal(values[0].grad.abs().sum(dim=1) > 0, values[4])
    assert all(each.grad is None for each in values[1:4])


@pytest.mark.parametrize("form", FORMS)
def test_no_positive_site_no_site_and_empty_boxes_are_finite(form: Form) -> None:
    student, teacher, truth, weights, positive = sample()
    assert float(localization_loss(student, teacher, truth, weights, positive & False, form=form, margin=0.0)) == 0
    none = (student[:0], teacher[:0], truth[:0], weights[:0], positive[:0])
    assert float(localization_loss(*none, form=form, margin=0.0)) == 0
    empty = torch.zeros_like(student).requires_grad_()
    loss = localization_loss(empty, 0 * teacher, 0 * truth, weights, positive, form=form, margin=0.0)
    torch.autograd.backward(loss)
    assert loss.isfinite()
    assert empty.grad is not None
    assert empty.grad.isfinite().all()


def test_a_margin_without_effect_is_refused() -> None:
    assert LocalizationSettings(form="bounded", margin=0.1).margin == 0.1
    for form in ("giou", "smooth_l1"):
        with pytest.raises(ValidationError, match=f"localization.margin = 0.1\thas no effect with form {form}"):
            LocalizationSettings.model_validate({"form": form, "margin": 0.1})


DENSE_FORMS: list[DenseForm] = ["giou", "smooth_l1"]


@pytest.mark.parametrize("form", DENSE_FORMS)
def test_dense_equals_its_equation(form: DenseForm) -> None:
    student, teacher, _, weights, positive = sample()
    total = 0.0
    for s, t, w in zip(student.tolist(), teacher.tolist(), weights.tolist(), strict=True):
        total += w * (literal_giou(s, t) if form == "giou" else literal_sides(s, t, t))
    found = float(dense_localization_loss(student, teacher, weights, positive, form=form))
    assert found == pytest.approx(total / int(positive.sum()), rel=1e-5)


@pytest.mark.parametrize("form", DENSE_FORMS)
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -1e30])
def test_dense_sites_of_weight_0_have_no_effect_and_the_gradient_reaches_the_student_alone(
    form: DenseForm, value: float
) -> None:
    student, teacher, _, weights, positive = sample()
    weights = torch.where(torch.arange(12) < 4, 0.0, weights)
    expected = dense_localization_loss(student, teacher, weights, positive, form=form)
    student[:4], teacher[:4] = value, value
    for each in (student, teacher, weights):
        each.requires_grad_()
    loss = dense_localization_loss(student, teacher, weights, positive, form=form)
    torch.autograd.backward(loss)
    assert float(loss.detach()) == pytest.approx(float(expected))
    assert student.grad is not None
    assert student.grad.isfinite().all()
    assert torch.equal(student.grad.abs().sum(dim=1) > 0, weights > 0)
    assert teacher.grad is None
    assert weights.grad is None


@pytest.mark.parametrize("form", DENSE_FORMS)
def test_dense_equal_boxes_do_not_differ_and_no_site_is_0(form: DenseForm) -> None:
    student, _, _, weights, positive = sample()
    for boxes in (student, student[:, :2].repeat(1, 2), 0 * student):
        given = boxes.clone().requires_grad_()
        loss = dense_localization_loss(given, boxes.clone(), weights, positive & False, form=form)
        torch.autograd.backward(loss)
        assert float(loss.detach()) == 0
        assert given.grad is not None
        assert given.grad.isfinite().all()
    none = (student[:0], student[:0], weights[:0], positive[:0])
    assert float(dense_localization_loss(*none, form=form)) == 0


@pytest.mark.parametrize("score_kind", ["sigmoid", "softmax"])
def test_the_importance_of_a_site(score_kind: str) -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = 3 * torch.randn(2, 9, 4, generator=generator)
    student.requires_grad_()
    p_student, p_teacher = (z.sigmoid() if score_kind == "sigmoid" else z.softmax(dim=1) for z in (student, teacher))
    expected: dict[SiteWeight, Tensor] = {
        "disagreement": (p_teacher - p_student)[:, 1:].abs().max(dim=1).values,
        "score": p_teacher[:, 1:].max(dim=1).values,
    }
    for name, values in expected.items():
        found = site_importance(student, teacher, score_kind=score_kind, site_weight=name)
        assert torch.allclose(found, values)
        assert not found.requires_grad
    same = site_importance(teacher, teacher, score_kind=score_kind, site_weight="disagreement")
    assert not same.any()


def test_sites_without_what_they_need_are_refused() -> None:
    assert LocalizationSettings(sites="all", site_weight="score").form == "giou"
    with pytest.raises(ValidationError, match=r"localization\.form = bounded\tneeds sites positive"):
        LocalizationSettings(sites="all", form="bounded")
    with pytest.raises(ValidationError, match="site_weight = score\thas no effect with sites positive"):
        LocalizationSettings(site_weight="score")
