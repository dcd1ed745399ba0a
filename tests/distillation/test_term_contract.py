"""The contract of every term, so that terms can be added, weighted and compared alike."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from distune.config.distillation import PRESETS, DistillationSettings
from distune.detectors.taps import StudentTaps, TeacherTaps
from distune.distillation.filtering import InstanceWeights
from distune.distillation.maps.box_masks import weight_mask
from distune.distillation.maps.pooling import pool_both
from distune.distillation.prototypes.prototypes import InstanceFeatures, make_prototypes
from distune.distillation.representation import Representations
from distune.distillation.term import DistillationTerm, Step, TermContext
from distune.distillation.terms import TERMS, term_weights

MakeTaps = Callable[..., tuple[StudentTaps, TeacherTaps]]
STRIDES = (8, 16, 32)


WAYS: dict[str, dict[str, Any]] = {name: {} for name in TERMS} | {
    "soft_labels": {"sites": "positive"},
    "soft_labels, all": {"sites": "all"},
    "soft_labels, all alike": {"sites": "all", "focus": 0.0},
    "localization, all": {"sites": "all"},
    "localization, all by score": {"sites": "all", "form": "smooth_l1", "site_weight": "score"},
    "global_knowledge, divergence": {"form": "divergence", "levels": "own"},
    "global_knowledge, cells": {"at": "cells", "form": "divergence"},
    "mimic, boxes": {"regions": "boxes"},
    "localization, smooth_l1": {"form": "smooth_l1"},
    "localization, bounded": {"form": "bounded"},
}
"""Every term, and those that are computed in several ways in each of them: settings other than the defaults."""

HEADS = [
    (way, score_kind)
    for way in WAYS
    for score_kind in ("sigmoid", "softmax")
    if score_kind == "sigmoid" or DistillationSettings().terms[way.split(",")[0]].compares_heads
]
"""The kind of scores matters to the terms that compare heads only."""

WITH_BACKGROUND = {"local_knowledge", "mimic", "pkd", "cwd"}
"""Cells outside boxes count too, and no weight affects them; each cell is compared on its own."""
WITH_OTHER_SITES = {way for way in WAYS if ", all" in way}
"""Sites that no instance is matched to count too."""
WITH_CONTEXT = {
    "fgd": "the background too, and it relates every cell of an image to all others",
    "mgd": "the background too, and its 3x3 convolutions reach from there into boxes",
}
NOT_ZERO_AT_EQUALITY = {"mgd": "cells are hidden from the student, and its generator is not trained"}
RELATIVE = {
    "fgfi": "a weighted mean over near cells: if all have weight 1/2, it stays the same",
    "global_knowledge, cells": "a weighted mean over cells: if all have weight 1/2, it stays the same",
}


def build(way: str, *, score_kind: str = "sigmoid", **changes: Any) -> DistillationTerm:
    name = way.split(",")[0]
    with_adapter = [each for each, term in DistillationSettings().terms.items() if hasattr(term, "adapter")]
    values: dict[str, dict[str, Any]] = {each: {"adapter": "identity"} for each in with_adapter}
    values["local_knowledge"]["base_size_px"] = 6.0
    values[name] = values.get(name, {}) | WAYS[way] | changes
    context = TermContext(
        strides=STRIDES,
        student_channels=(8, 8, 8),
        teacher_channels=(8, 8, 8),
        score_kind=score_kind,
        base_size_px=56.0,
        generator=torch.Generator().manual_seed(0),
    )
    return TERMS[name](DistillationSettings.model_validate(values), context)


def loss_of(term: DistillationTerm, step: Step) -> Tensor:
    """The loss of a step, alike each time also for terms that draw random numbers."""
    torch.manual_seed(0)
    return term(step)


def step_of(student: StudentTaps, teacher: TeacherTaps, *, weight: float = 1.0) -> Step:
    """A step on prototypes made of its boxes."""
    instances = student.instances
    features = pool_both(
        student.view, teacher.view, instances, strides=STRIDES, pooling="roi_align", with_gradient=True
    )
    prototypes, _ = make_prototypes(
        InstanceFeatures(features.student_LND.detach(), features.teacher_LNE, instances.labels_N, instances.origin_N2),
        STRIDES,
        num_classes=3,
        num_prototypes=2,
        alpha=1.0,
        unique=True,
        density_bandwidth=0.1,
        density_quantile=0.0,
    )
    weights_LN = torch.full((3, instances.labels_N.shape[0]), weight)
    return Step(
        student,
        teacher,
        STRIDES,
        InstanceWeights(weights_LN, weights_LN, torch.zeros_like(weights_LN), weights_LN > -1),
        Representations(features, prototypes, instances.labels_N),
        lambda: features,
    )


@pytest.mark.parametrize(("way", "score_kind"), HEADS)
class TestTerm:
    def test_is_a_float32_scalar_above_zero_that_reaches_the_student(
        self, way: str, score_kind: str, make_taps: MakeTaps
    ) -> None:
        student, teacher = make_taps(student_channels=8, score_kind=score_kind)
        places = student.prediction_sites
        of_teacher = [*teacher.neck.values(), teacher.logits_at(places), teacher.boxes_at(places)]
        for values in of_teacher:
            values.requires_grad_()
        loss = loss_of(build(way, score_kind=score_kind), step_of(student, teacher))
        assert loss.shape == ()
        assert loss.dtype == torch.float32
        assert float(loss.detach()) > 0
        torch.autograd.backward(loss)
        gradients = [values.grad for values in (*student.neck.values(), places.logits_RC, places.boxes())]
        assert any(gradient is not None and bool(gradient.any()) for gradient in gradients)
        assert all(gradient is None or bool(gradient.isfinite().all()) for gradient in gradients)
        assert all(values.grad is None for values in of_teacher)

    def test_is_zero_when_the_student_equals_the_teacher(self, way: str, score_kind: str, make_taps: MakeTaps) -> None:
        student, teacher = make_taps(student_channels=8, score_kind=score_kind, same=True)
        loss = float(loss_of(build(way, score_kind=score_kind), step_of(student, teacher)).detach())
        if way in NOT_ZERO_AT_EQUALITY:
            assert loss > 0
        else:
            assert loss == pytest.approx(0, abs=1e-6)

    @pytest.mark.parametrize(
        ("counts", "dtype"),
        [
            ((0, 0), torch.float32),
            ((0, 1), torch.bfloat16),
            ((1,), torch.float32),
            ((3, 0, 2), torch.float32),
            ((6, 7), torch.bfloat16),
        ],
    )
    def test_accepts_any_number_of_boxes_in_any_precision(
        self, way: str, score_kind: str, make_taps: MakeTaps, counts: tuple[int, ...], dtype: torch.dtype
    ) -> None:
        student, teacher = make_taps(student_channels=8, score_kind=score_kind, boxes_per_image=counts, dtype=dtype)
        loss = loss_of(build(way, score_kind=score_kind), step_of(student, teacher))
        assert loss.dtype == torch.float32
        assert loss.isfinite()
        assert float(loss.detach()) >= 0
        assert loss.requires_grad
        torch.autograd.backward(loss)
        for values in (*student.neck.values(), student.prediction_sites.logits_RC, student.prediction_sites.boxes()):
            assert values.grad is None or bool(values.grad.isfinite().all())

    def test_works_without_prototypes_or_declares_that_it_needs_them(
        self, way: str, score_kind: str, make_taps: MakeTaps
    ) -> None:
        student, teacher = make_taps(student_channels=8, score_kind=score_kind)
        step = step_of(student, teacher)
        ones = InstanceWeights.ones(3, sum(student.instances.counts), torch.device("cpu"))
        without = dataclasses.replace(step, weights=ones, representations=None)
        term = build(way, score_kind=score_kind)
        assert term.needs_prototypes == (way.startswith("global_knowledge"))
        if not term.needs_prototypes:
            assert torch.equal(loss_of(term, without), loss_of(term, step))

    def test_instances_of_weight_0_have_no_effect(self, way: str, score_kind: str, make_taps: MakeTaps) -> None:
        term = build(way, score_kind=score_kind)
        student, teacher = make_taps(student_channels=8, score_kind=score_kind)
        losses = [float(loss_of(term, step_of(student, teacher, weight=weight)).detach()) for weight in (0.0, 0.5, 1.0)]
        if way in WITH_BACKGROUND | WITH_CONTEXT.keys() | WITH_OTHER_SITES:
            assert 0 < losses[0] != losses[2]
        else:
            assert losses[0] == 0
            assert losses[1] == pytest.approx(losses[2]) if way in RELATIVE else 0 < losses[1] < losses[2]

    def test_each_knowledge_has_its_own_weights(self, way: str, score_kind: str, make_taps: MakeTaps) -> None:
        term = build(way, score_kind=score_kind)
        student, teacher = make_taps(student_channels=8, score_kind=score_kind)
        step = step_of(student, teacher)
        zeros_LN = torch.zeros_like(step.weights.global_LN)
        without_global = dataclasses.replace(step, weights=dataclasses.replace(step.weights, global_LN=zeros_LN))
        without_local = dataclasses.replace(step, weights=dataclasses.replace(step.weights, local_LN=zeros_LN))
        full = float(loss_of(term, step).detach())
        assert (float(loss_of(term, without_global).detach()) == full) == (not way.startswith("global_knowledge"))
        assert (float(loss_of(term, without_local).detach()) == full) == (way.startswith("global_knowledge"))
        if not way.startswith("global_knowledge"):
            plain = build(way, score_kind=score_kind, robust=False)
            assert float(loss_of(plain, without_local).detach()) == full


@pytest.mark.parametrize("way", sorted(WITH_BACKGROUND))
def test_the_inside_of_a_filtered_box_gets_no_gradient_and_the_outside_does(way: str, make_taps: MakeTaps) -> None:
    changes: dict[str, Any] = (
        {"base_size_px": 1000.0} if way == "local_knowledge" else {}
    )  # all boxes on the finest level
    student, teacher = make_taps(student_channels=8, boxes_per_image=(1, 2))
    torch.autograd.backward(build(way, **changes)(step_of(student, teacher, weight=0.0)))
    gradient_BDHW = student.neck[8].grad
    assert gradient_BDHW is not None
    height, width = gradient_BDHW.shape[-2:]
    inside_BHW = weight_mask(torch.ones(3), student.instances, stride=8, size=(height, width)) > 0
    assert inside_BHW.any()
    assert not inside_BHW.all()
    assert torch.equal(gradient_BDHW.abs().sum(dim=1) == 0, inside_BHW)


@pytest.mark.parametrize("name", ["soft_labels", "localization"])
def test_a_site_has_the_mean_weight_of_its_instance_over_levels(name: str, make_taps: MakeTaps) -> None:
    step = step_of(*make_taps(student_channels=8))
    term = build(name)
    per_level_LN = torch.tensor([0.0, 0.3, 0.9])[:, None].expand_as(step.weights.local_LN)
    uneven = dataclasses.replace(step, weights=dataclasses.replace(step.weights, local_LN=per_level_LN))
    assert float(term(uneven).detach()) == pytest.approx(0.4 * float(term(step).detach()))


@pytest.mark.parametrize("way", sorted(WITH_OTHER_SITES))
def test_a_site_in_padding_takes_no_part_unless_it_is_matched(way: str, make_taps: MakeTaps) -> None:
    student, teacher = make_taps(student_channels=8)
    sites = student.prediction_sites
    in_image_R = torch.arange(len(sites.labels_R)) % 2 == 0
    padded = dataclasses.replace(sites, in_image=lambda: in_image_R)
    torch.autograd.backward(build(way)(step_of(dataclasses.replace(student, prediction_sites=padded), teacher)))
    gradient_RC, gradient_R4 = sites.logits_RC.grad, sites.boxes().grad
    gradient = gradient_RC if gradient_RC is not None else gradient_R4
    assert gradient is not None
    assert torch.equal(gradient.abs().sum(dim=1) > 0, in_image_R | sites.positive_R)


@pytest.mark.parametrize("way", sorted(WITH_OTHER_SITES))
def test_a_filtered_instance_leaves_the_other_sites(way: str, make_taps: MakeTaps) -> None:
    student, teacher = make_taps(student_channels=8)
    sites = student.prediction_sites
    torch.autograd.backward(build(way)(step_of(student, teacher, weight=0.0)))
    gradient_RC, gradient_R4 = sites.logits_RC.grad, sites.boxes().grad
    gradient = gradient_RC if gradient_RC is not None else gradient_R4
    assert gradient is not None
    assert torch.equal(gradient.abs().sum(dim=1) > 0, ~sites.positive_R)


def test_every_term_has_settings_of_its_name() -> None:
    assert DistillationSettings().terms.keys() == TERMS.keys()
    weights = {name: term_weights(DistillationSettings.model_validate({"preset": name})) for name in PRESETS}
    assert weights["decoupled"] == term_weights(DistillationSettings()) == {"local_knowledge": 1.0, "soft_labels": 1.0}
    assert weights["decoupled_global"] == weights["gkd_global"] == weights["decoupled"] | {"global_knowledge": 0.3}
    assert weights["gkd_raw"] == {"local_knowledge": 1.0, "soft_labels": 1.0}


ADAPTERS = {f"adapters.{level}.{part}" for level in range(3) for part in ("weight", "bias")}
RELATION_PARTS = ("key", "squeeze", "squeeze_bias", "norm.weight", "norm.bias", "expand", "expand_bias")
PARAMETERS: dict[str, set[str]] = {
    **dict.fromkeys(("local_knowledge", "pkd", "mimic", "fgfi", "cwd"), ADAPTERS),
    "mgd": ADAPTERS
    | {f"generators.{level}.{layer}.{part}" for level in range(3) for layer in (0, 2) for part in ("weight", "bias")},
    "fgd": ADAPTERS
    | {
        f"{name}.{level}.{part}"
        for name in ("relations", "teacher_relations")
        for level in range(3)
        for part in RELATION_PARTS
    },
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_have_the_names_that_checkpoints_hold(name: str) -> None:
    term = build(name, adapter="conv1x1")
    assert isinstance(term, torch.nn.Module)
    assert term.state_dict().keys() == PARAMETERS[name]
