"""The objective in a step."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from distune.detectors.taps import Instances, PredictionSites, StudentTaps, TeacherTaps, View
from distune.distillation.filtering import RobustFilter
from distune.distillation.objective import Objective
from distune.distillation.term import Step
from distune.distillation.weight_schedule import WeightSchedule
from distune.errors import ConfigError
from support.objectives import FEATURE_PASS, TERMS, MakeTaps, build, never, source, values_of, with_prototypes


def test_gives_each_term_and_its_gradient_to_the_student_alone(make_taps: MakeTaps) -> None:
    objective = with_prototypes(make_taps)
    for name in sorted(TERMS):
        student, teacher = make_taps()
        for teacher_map in teacher.neck.values():
            teacher_map.requires_grad_()
        losses = objective(student, teacher)
        assert losses.keys() == TERMS
        torch.autograd.backward(losses[name])
        received = [m.grad for m in (*student.neck.values(), student.prediction_sites.logits_RC) if m.grad is not None]
        assert sum(float(gradient.abs().sum()) for gradient in received) > 0
        assert all(m.grad is None for m in teacher.neck.values())
        assert all(value.requires_grad is False for value in objective.buffers())
        assert (student.prediction_sites.logits_RC.grad is not None) == (name == "soft_labels")


def test_losses_are_zero_when_the_student_equals_the_teacher(make_taps: MakeTaps) -> None:
    objective = build(
        {"prototypes": {"source": FEATURE_PASS}, "local_knowledge": {"adapter": "identity"}},
        student_channels=(8, 8, 8),
    )
    objective.begin_epoch(1, source(make_taps, same=True))
    losses = objective(*make_taps(same=True))
    assert losses.keys() == TERMS
    assert all(value == pytest.approx(0, abs=1e-6) for value in values_of(losses).values())
    assert objective.end_epoch()["filter/kept_local"] == pytest.approx(1)


@pytest.mark.parametrize("kind", ["sigmoid", "softmax"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("counts", [(0, 0), (1,), (0, 5), (4, 0, 3)])
@pytest.mark.parametrize("pooling", ["roi_align", "crop"])
def test_every_batch_gives_finite_losses_that_are_not_negative(
    make_taps: MakeTaps, kind: str, dtype: torch.dtype, counts: tuple[int, ...], pooling: str
) -> None:
    objective = with_prototypes(make_taps, {"pooling": pooling}, score_kind=kind)
    student, teacher = make_taps(boxes_per_image=counts, dtype=dtype, score_kind=kind)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        losses = objective(student, teacher)
    assert losses.keys() == TERMS
    assert all(loss.dtype == torch.float32 and float(loss.detach()) >= 0 for loss in losses.values())
    torch.autograd.backward(torch.stack(list(losses.values())).sum())
    for values in (*student.neck.values(), student.prediction_sites.logits_RC):
        assert values.grad is None or values.grad.isfinite().all()
    metrics = objective.end_epoch()
    signed = ("features/", "gradient_cosine/")
    assert all(0 <= value < torch.inf for name, value in metrics.items() if not name.startswith(signed))
    assert ("filter/kept_global" in metrics) == (sum(counts) > 0)


def test_autocast_changes_nothing(make_taps: MakeTaps) -> None:
    found = []
    for enabled in (False, True):
        objective = with_prototypes(make_taps)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            found.append(values_of(objective(*make_taps())))
    assert found[0] == found[1]


@pytest.mark.parametrize("enabled", [False, True])
def test_the_teachers_head_runs_in_the_precision_of_its_neck(make_taps: MakeTaps, enabled: bool) -> None:
    objective = with_prototypes(make_taps)
    student, teacher = make_taps()
    head = torch.nn.Linear(5, 4)
    ran_in: list[torch.dtype] = []
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
        hidden_R5 = torch.nn.functional.linear(torch.randn(20, 3), torch.randn(5, 3))

        def logits_at(_: PredictionSites) -> Tensor:
            logits_R4: Tensor = head(hidden_R5).detach()
            ran_in.append(logits_R4.dtype)
            return logits_R4

        losses = objective(student, TeacherTaps(teacher.view, logits_at, teacher.boxes_at))
    assert ran_in == [torch.bfloat16 if enabled else torch.float32]
    assert losses["soft_labels"].dtype == torch.float32


def permuted(student: StudentTaps, teacher: TeacherTaps, order: list[int]) -> tuple[StudentTaps, TeacherTaps]:
    """The same batch with its images, and so its boxes and prediction sites, in another order."""
    old = student.instances
    rows = torch.cat([(old.image_of_N == image).nonzero().squeeze(1) for image in order])
    targets = [
        {"boxes": old.boxes_N4[old.image_of_N == image], "labels": old.labels_N[old.image_of_N == image]}
        for image in order
    ]
    places = torch.randperm(len(student.prediction_sites.positive_R), generator=torch.Generator().manual_seed(0))
    there = student.prediction_sites
    logits = teacher.logits_at(there)[places]
    return (
        StudentTaps(
            student.losses,
            {s: m.detach()[order] for s, m in student.neck.items()},
            PredictionSites(
                logits_RC=there.logits_RC[places],
                boxes=there.boxes,
                labels_R=there.labels_R[places],
                instance_R=rows.argsort()[there.instance_R[places]],
                proposals=None,
            ),
            Instances.of(targets, old.frame),
        ),
        TeacherTaps(
            View({s: m[order] for s, m in teacher.neck.items()}, old.frame), lambda _: logits, teacher.boxes_at
        ),
    )


def test_the_order_of_images_has_no_effect(make_taps: MakeTaps) -> None:
    objective = with_prototypes(make_taps, {"filter": {"weight": "quantile", "local_threshold": 0.5}})
    batch = make_taps(boxes_per_image=(3, 0, 4, 2))
    before = values_of(objective(*batch))
    after = values_of(objective(*permuted(*batch, [2, 0, 3, 1])))
    assert before == pytest.approx(after, rel=1e-5)


def test_a_class_without_prototypes_has_weight_one_and_is_counted(make_taps: MakeTaps) -> None:
    objective = build({"prototypes": {"source": FEATURE_PASS}}, num_classes=4)
    objective.begin_epoch(1, source(make_taps))
    assert objective.prototypes is not None
    assert objective.prototypes.valid[:, :3].any()
    assert not objective.prototypes.valid[:, 3].any()
    student, teacher = make_taps()
    student.instances.labels_N[:] = 4
    weights = objective.instance_weights(student.view, teacher.view, student.instances)
    assert weights.global_LN.tolist() == weights.local_LN.tolist() == [[1.0] * 7] * 3
    student.instances.labels_N[:3] = 1
    losses = objective(student, teacher)
    assert losses.keys() == TERMS
    assert objective.end_epoch()["filter/without_prototypes"] == pytest.approx(4 / 7)


def test_instance_weights_are_those_of_a_step(make_taps: MakeTaps) -> None:
    objective = with_prototypes(make_taps)
    student, teacher = make_taps()
    objective(student, teacher)
    weights = objective.instance_weights(student.view, teacher.view, student.instances)
    metrics = objective.end_epoch()
    assert metrics["filter/kept_global"] == pytest.approx(float(weights.global_LN.mean()))
    assert metrics["filter/kept_local"] == pytest.approx(float(weights.local_LN.mean()))
    assert metrics["filter/discrepancy"] == pytest.approx(float(weights.discrepancy_LN.mean()))
    assert 0 < metrics["filter/kept_global"] < 1


def test_losses_are_weighted_and_decayed_and_reported_as_added(make_taps: MakeTaps) -> None:
    plain = values_of(with_prototypes(make_taps)(*make_taps()))
    weighted = with_prototypes(
        make_taps,
        {"global_knowledge": {"weight": 10.0}, "local_knowledge": {"weight": 3.0}, "soft_labels": {"weight": 0.5}},
    )
    weighted.begin_epoch(4, source(make_taps))
    batches = [make_taps(seed=seed) for seed in range(2)]
    found = [values_of(weighted(*batch)) for batch in batches]
    decay = 0.25
    assert found[0]["global_knowledge"] == pytest.approx(plain["global_knowledge"] * 2 * decay)
    assert found[0]["local_knowledge"] == pytest.approx(plain["local_knowledge"] * 3 * decay)
    assert found[0]["soft_labels"] == pytest.approx(plain["soft_labels"] * 0.5 * decay)
    metrics = weighted.end_epoch()
    for name in TERMS:
        assert metrics[f"loss/{name}"] == pytest.approx((found[0][name] + found[1][name]) / 2)


def test_the_order_of_strides_has_no_effect(make_taps: MakeTaps) -> None:
    orders = ((8, 16, 32), (32, 8, 16))
    found = [values_of(with_prototypes(make_taps, strides=order)(*make_taps())) for order in orders]
    assert found[0] == found[1]


def test_a_term_without_weight_is_not_built(make_taps: MakeTaps) -> None:
    objective = with_prototypes(make_taps, {"local_knowledge": {"weight": 0.0}, "soft_labels": {"weight": 0.0}})
    assert list(objective.parameters()) == []
    assert objective(*make_taps()).keys() == {"global_knowledge"}
    objective = with_prototypes(make_taps, {"global_knowledge": {"weight": 0.0}})
    assert len(list(objective.parameters())) == 6
    assert objective(*make_taps()).keys() == {"local_knowledge", "soft_labels"}


def test_without_any_weight_it_is_inactive_and_has_no_state(make_taps: MakeTaps) -> None:
    objective = build({name: {"weight": 0.0} for name in TERMS})
    assert not any(objective.is_active_in(epoch) for epoch in range(1, 5))
    objective.begin_epoch(1, never)
    assert objective(*make_taps()) == {}
    assert objective.end_epoch() == {}
    assert len(objective.state_dict()) == 0


def test_train_and_eval_mode_give_equal_losses(make_taps: MakeTaps) -> None:
    objective = with_prototypes(make_taps)
    trained = values_of(objective.train()(*make_taps()))
    assert values_of(objective.eval()(*make_taps())) == trained


def test_settings_that_do_not_fit_the_detectors_are_refused() -> None:
    with pytest.raises(ConfigError, match="no stride in common"):
        build(strides=())
    with pytest.raises(ConfigError, match="use conv1x1"):
        build({"local_knowledge": {"adapter": "identity"}})


class NeckEnergy:
    """A term of one line, to build an objective without settings."""

    needs_prototypes = False

    def __call__(self, step: Step) -> Tensor:
        return step.maps(0)[0].square().mean()


def test_is_built_from_terms_without_settings(make_taps: MakeTaps) -> None:
    objective = Objective(
        {"energy": NeckEnergy()},
        weights={"energy": 2.0},
        schedule=WeightSchedule(decay="linear", start_after=0, stop_after=4),
        strides=(8, 16, 32),
        pooling="crop",
        instance_filter=RobustFilter(
            discrepancy="mean_cosine", weight="uniform", global_threshold=0.2, local_threshold=0.2
        ),
    )
    student, teacher = make_taps()
    assert objective(student, teacher) == {}, "no epoch has begun"
    objective.begin_epoch(2, never)
    losses = objective(student, teacher)
    expected = 0.75 * 2 * float(student.neck[8].detach().square().mean())
    assert values_of(losses) == pytest.approx({"energy": expected})
    assert objective.end_epoch()["loss/energy"] == pytest.approx(expected)


def test_a_small_box_has_no_part_on_coarse_levels(make_taps: MakeTaps) -> None:
    """Whatever a small box has on a level where it does not count, losses, weights and prototypes stay the same."""

    def play(value: float) -> tuple[dict[str, float], dict[str, float], Tensor]:
        objective = build({"min_box_cells": 1.0, "local_knowledge": {"weight": 0.0, "unit": "raw"}})
        for epoch in (1, 2):
            objective.begin_epoch(epoch, never)
            student, teacher = make_taps(seed=epoch, boxes_per_image=(12, 0))
            # Small boxes have the upper left cell of the coarsest level to themselves.
            boxes_N4 = student.instances.boxes_N4.clone()
            boxes_N4[:6] = torch.tensor([2.0, 2.0, 28.0, 30.0]) + torch.arange(6)[:, None] * 0.1
            boxes_N4[6:] = torch.tensor([33.0, 0.0, 95.0, 63.0])
            instances = dataclasses.replace(student.instances, boxes_N4=boxes_N4)
            for neck in (student.neck, teacher.neck):
                neck[32] = neck[32].detach().clone()
                neck[32][:, :, 0, 0] = value
            losses = values_of(objective(dataclasses.replace(student, instances=instances), teacher))
            metrics = objective.end_epoch()
        assert objective.prototypes is not None
        return losses, metrics, objective.prototypes.student[2].clone()

    (losses, metrics, prototypes), (other_losses, other_metrics, other_prototypes) = (play(0.3), play(-2.0))
    assert losses["global_knowledge"] > 0
    assert losses == other_losses
    assert metrics == other_metrics
    assert torch.equal(prototypes, other_prototypes)
