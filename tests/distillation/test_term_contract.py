"""What every term keeps to, so that terms can be added, weighted and compared alike."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from distune.config.distillation import DistillationSettings
from distune.detectors.taps import StudentTaps, TeacherTaps
from distune.distillation.filtering import InstanceWeights
from distune.distillation.pooling import pool_both
from distune.distillation.prototypes import InstanceFeatures, make_prototypes
from distune.distillation.representation import Representations
from distune.distillation.term import DistillationTerm, Step, TermContext
from distune.distillation.terms import TERMS, term_weights

MakeTaps = Callable[..., tuple[StudentTaps, TeacherTaps]]
STRIDES = (8, 16, 32)


def build(name: str, *, score_kind: str = "sigmoid") -> DistillationTerm:
    settings = DistillationSettings.model_validate({"local_knowledge": {"adapter": "identity", "base_size_px": 6.0}})
    context = TermContext(
        strides=STRIDES,
        student_channels=8,
        teacher_channels=8,
        score_kind=score_kind,
        generator=torch.Generator().manual_seed(0),
    )
    return TERMS[name](settings, context)


def step_of(student: StudentTaps, teacher: TeacherTaps, *, weight: float = 1.0) -> Step:
    """A step on prototypes made of its own boxes."""
    instances = student.instances
    features = pool_both(
        student.neck, teacher.neck, instances, strides=STRIDES, pooling="roi_align", with_gradient=True
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
    )


def foreground_of(name: str, loss: Tensor, nothing_kept: Tensor) -> float:
    """What instances contribute: the local term has a background besides, which no weight touches."""
    return float((loss - (nothing_kept if name == "local_knowledge" else 0)).detach())


@pytest.mark.parametrize("score_kind", ["sigmoid", "softmax"])
@pytest.mark.parametrize("name", TERMS)
class TestTerm:
    def test_is_a_float32_scalar_above_zero_that_reaches_the_student(
        self, name: str, score_kind: str, make_taps: MakeTaps
    ) -> None:
        student, teacher = make_taps(student_channels=8, score_kind=score_kind)
        for teacher_map in teacher.neck.values():
            teacher_map.requires_grad_()
        loss = build(name, score_kind=score_kind)(step_of(student, teacher))
        assert loss.shape == ()
        assert loss.dtype == torch.float32
        assert float(loss.detach()) > 0
        torch.autograd.backward(loss)
        gradients = [m.grad for m in (*student.neck.values(), student.scores.logits_RC)]
        assert any(gradient is not None and bool(gradient.any()) for gradient in gradients)
        assert all(teacher_map.grad is None for teacher_map in teacher.neck.values())

    def test_is_zero_when_the_student_equals_the_teacher(self, name: str, score_kind: str, make_taps: MakeTaps) -> None:
        student, teacher = make_taps(student_channels=8, score_kind=score_kind, same=True)
        loss = build(name, score_kind=score_kind)(step_of(student, teacher))
        assert float(loss.detach()) == pytest.approx(0, abs=1e-6)

    @pytest.mark.parametrize("counts", [(0, 0), (0, 1), (1,), (3, 0, 2)])
    def test_takes_any_number_of_boxes(
        self, name: str, score_kind: str, make_taps: MakeTaps, counts: tuple[int, ...]
    ) -> None:
        student, teacher = make_taps(student_channels=8, score_kind=score_kind, boxes_per_image=counts)
        loss = build(name, score_kind=score_kind)(step_of(student, teacher)).detach()
        assert loss.isfinite()
        assert float(loss) >= 0

    def test_what_is_filtered_away_teaches_nothing(self, name: str, score_kind: str, make_taps: MakeTaps) -> None:
        term = build(name, score_kind=score_kind)
        student, teacher = make_taps(student_channels=8, score_kind=score_kind)
        losses = [term(step_of(student, teacher, weight=weight)) for weight in (0.0, 0.5, 1.0)]
        assert foreground_of(name, losses[0], losses[0]) == 0
        assert foreground_of(name, losses[2], losses[0]) > 0
        if name != "local_knowledge":
            assert 0 < float(losses[1].detach()) < float(losses[2].detach())

    def test_each_knowledge_has_its_own_weights(self, name: str, score_kind: str, make_taps: MakeTaps) -> None:
        term = build(name, score_kind=score_kind)
        student, teacher = make_taps(student_channels=8, score_kind=score_kind)
        step = step_of(student, teacher)
        zeros_LN = torch.zeros_like(step.weights.global_LN)
        without_global = dataclasses.replace(step, weights=dataclasses.replace(step.weights, global_LN=zeros_LN))
        without_local = dataclasses.replace(step, weights=dataclasses.replace(step.weights, local_LN=zeros_LN))
        full = float(term(step).detach())
        assert (float(term(without_global).detach()) == full) == (name != "global_knowledge")
        assert (float(term(without_local).detach()) == full) == (name == "global_knowledge")


def test_a_place_weighs_as_much_as_its_instance_on_average_over_levels(make_taps: MakeTaps) -> None:
    step = step_of(*make_taps(student_channels=8))
    term = build("soft_labels")
    per_level_LN = torch.tensor([0.0, 0.3, 0.9])[:, None].expand_as(step.weights.local_LN)
    uneven = dataclasses.replace(step, weights=dataclasses.replace(step.weights, local_LN=per_level_LN))
    assert float(term(uneven).detach()) == pytest.approx(0.4 * float(term(step).detach()))


def test_every_term_has_settings_of_its_name() -> None:
    assert term_weights(DistillationSettings()) == {
        "global_knowledge": 5.0,
        "local_knowledge": 1.0,
        "soft_labels": 1.0,
    }
    assert "global_knowledge" not in term_weights(DistillationSettings.model_validate({"preset": "gkd_released"}))
