"""The objective over epochs: when it is active, when prototypes are made, and resuming after an interruption."""

from __future__ import annotations

import copy
import dataclasses
import io
import itertools

import pytest
import torch

from distune.distillation.maps.pooling import PooledFeatures, l2_normalize
from distune.distillation.objective import Objective
from distune.distillation.prototypes.prototypes import Prototypes
from distune.distillation.prototypes.ridge import dual_basis
from support.objectives import (
    FEATURE_PASS,
    TERMS,
    MakeTaps,
    build,
    never,
    run_epochs,
    source,
    values_of,
    with_prototypes,
)


def test_an_epoch_that_is_started_again_reports_only_its_second_run(make_taps: MakeTaps) -> None:
    objective = with_prototypes(make_taps)
    objective(*make_taps(seed=1))
    objective.begin_epoch(1, source(make_taps))
    losses = values_of(objective(*make_taps(seed=2)))
    assert objective.end_epoch()["loss/global_knowledge"] == pytest.approx(losses["global_knowledge"])


def test_the_global_random_numbers_are_not_used(make_taps: MakeTaps) -> None:
    before = torch.get_rng_state()
    objective = build()
    run_epochs(objective, make_taps, range(1, 4))
    assert torch.equal(torch.get_rng_state(), before)
    again, other = build(), build(seed=1)
    first = next(build().parameters())
    assert torch.equal(first, next(again.parameters()))
    assert not torch.equal(first, next(other.parameters()))


def test_is_active_only_in_its_epochs(make_taps: MakeTaps) -> None:
    objective = build({"start_epoch": 1, "stop_epoch": 3, "prototypes": {"source": FEATURE_PASS}}, num_epochs=5)
    assert [objective.is_active_in(epoch) for epoch in range(1, 6)] == [False, True, True, False, False]
    for epoch in range(1, 6):
        objective.begin_epoch(epoch, source(make_taps) if epoch in (2, 3) else never)
        assert objective(*make_taps()).keys() == (TERMS if epoch in (2, 3) else set())
        assert ("prototypes/instances" in objective.end_epoch()) == (epoch in (2, 3))


def test_prototypes_from_a_queue_are_used_from_the_second_epoch_on(make_taps: MakeTaps) -> None:
    objective = build()
    objective.begin_epoch(1, never)
    losses = objective(*make_taps(boxes_per_image=(9, 9)))
    assert losses.keys() == {"local_knowledge", "soft_labels"}
    metrics = objective.end_epoch()
    assert metrics["filter/without_prototypes"] == metrics["filter/kept_local"] == 1
    assert "filter/discrepancy" not in metrics
    assert metrics["prototypes/instances"] > 9
    assert objective.prototypes is not None
    origins = objective.prototypes.origin[objective.prototypes.valid]
    assert (origins >= 0).all()
    objective.begin_epoch(2, never)
    assert objective(*make_taps()).keys() == TERMS
    assert objective.end_epoch()["filter/without_prototypes"] < 1


def test_prototypes_made_once_wait_for_the_first_instances(make_taps: MakeTaps) -> None:
    objective = build({"start_epoch": 1, "prototypes": {"refresh_epochs": 0}}, num_epochs=6)
    made = []
    for epoch in range(1, 7):
        objective.begin_epoch(epoch, never)
        objective(*make_taps(seed=epoch, boxes_per_image=(0, 0) if epoch < 4 else (9, 9)))
        made.append("prototypes/instances" in objective.end_epoch())
    assert made == [False, False, False, True, False, False]


@pytest.mark.parametrize(
    ("refresh_epochs", "made_at_end_of"), [(1, [1, 2, 3, 4, 5]), (2, [1, 3, 5]), (4, [1, 5]), (0, [1])]
)
def test_the_queue_is_refreshed_as_often_as_set_and_not_after_the_last_use(
    make_taps: MakeTaps, refresh_epochs: int, made_at_end_of: list[int]
) -> None:
    objective = build({"prototypes": {"refresh_epochs": refresh_epochs}}, num_epochs=6)
    made = []
    for epoch in range(1, 7):
        metrics = run_epochs(objective, make_taps, range(epoch, epoch + 1))[0]
        if "prototypes/instances" in metrics:
            made.append(epoch)
        assert objective.prototype_manager is not None
        assert objective.prototype_manager.queue is not None
        waits = epoch < made_at_end_of[-1] and epoch not in made_at_end_of
        assert (int(objective.prototype_manager.queue.seen.sum()) > 0) == waits
    assert made == made_at_end_of


@pytest.mark.parametrize("interrupted_after", [1, 2, 3])
@pytest.mark.parametrize("refresh_epochs", [1, 3])
def test_a_restored_objective_continues_exactly(
    make_taps: MakeTaps, interrupted_after: int, refresh_epochs: int
) -> None:
    def fresh() -> Objective:
        return build({"prototypes": {"refresh_epochs": refresh_epochs}}, num_epochs=6)

    whole = fresh()
    expected = run_epochs(whole, make_taps, range(1, 7))
    first = fresh()
    run_epochs(first, make_taps, range(1, interrupted_after + 1))
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second = fresh()
    second.load_state_dict(torch.load(file, weights_only=True), strict=True)
    assert (second.prototypes is None) == (first.prototypes is None)
    found = run_epochs(second, make_taps, range(interrupted_after + 1, 7))
    assert found == expected[interrupted_after:]
    for name, value in whole.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name


def test_prototypes_that_are_selected_once_follow_the_student(make_taps: MakeTaps) -> None:
    """The same images come again with another student. Prototypes of them change, in both models alike."""

    def play(refresh_epochs: int) -> tuple[Prototypes, Prototypes, Objective]:
        objective = build({"prototypes": {"refresh_epochs": refresh_epochs}}, num_epochs=6)
        objective.begin_epoch(1, never)
        objective(*make_taps(seed=1, boxes_per_image=(9, 9)))
        objective(*make_taps(seed=2, boxes_per_image=(9, 9)))
        objective.end_epoch()
        assert objective.prototypes is not None
        before = copy.deepcopy(objective.prototypes)
        objective.begin_epoch(2, never)
        student, teacher = make_taps(seed=1, boxes_per_image=(9, 9))
        neck = {stride: (each.detach().flip(1) + 0.5).requires_grad_() for stride, each in student.neck.items()}
        losses = objective(dataclasses.replace(student, neck=neck), teacher)
        torch.autograd.backward(torch.stack(list(losses.values())).sum())
        return before, objective.prototypes, objective

    before, after, objective = play(0)
    assert torch.equal(before.origin, after.origin)
    again_LCM = after.valid & (after.origin[..., 0] // 100 == 1)
    others_LCM = after.valid & ~again_LCM
    assert again_LCM.any()
    assert others_LCM.any()
    assert torch.equal(before.student[others_LCM], after.student[others_LCM])
    assert not (before.student[again_LCM] == after.student[again_LCM]).all(dim=1).any()
    torch.testing.assert_close(before.teacher, after.teacher)  # the teacher has not changed
    torch.testing.assert_close(after.student[again_LCM].norm(dim=1), torch.ones(int(again_LCM.sum())))
    objective.end_epoch()
    for level, class_index in itertools.product(range(3), range(3)):
        valid_M = after.valid[level, class_index]
        expected_MD = dual_basis(after.student[level, class_index][valid_M].double()).float()
        torch.testing.assert_close(after.student_dual[level, class_index][valid_M], expected_MD)
        assert not after.student_dual[level, class_index][~valid_M].any()
    before, after, _ = play(1)
    assert torch.equal(before.student, after.student), "with 1, they stay for their epoch"


def test_a_followed_prototype_is_the_feature_of_its_instance(make_taps: MakeTaps) -> None:
    objective = build({"prototypes": {"refresh_epochs": 0}, "center": "instances"}, num_epochs=6)
    run_epochs(objective, make_taps, range(1, 2))
    objective.begin_epoch(2, never)
    student, teacher = make_taps(seed=10, boxes_per_image=(7, 5))
    objective(student, teacher)
    made, manager = objective.prototypes, objective.prototype_manager
    assert made is not None
    assert manager is not None
    pooled = PooledFeatures(
        manager.pool(student.view, student.instances), manager.pool(teacher.view, student.instances)
    )
    features = manager.center(pooled)
    found = 0
    for level, class_index, index in made.valid.nonzero().tolist():
        same_N = (student.instances.origin_N2 == made.origin[level, class_index, index]).all(dim=1)
        if same_N.any():
            found += 1
            row = int(same_N.int().argmax())
            for of_prototype, features_ND in (
                (made.student, features.student_LND[level]),
                (made.teacher, features.teacher_LNE[level]),
            ):
                torch.testing.assert_close(
                    of_prototype[level, class_index, index], l2_normalize(features_ND)[row], rtol=0, atol=1e-5
                )
    assert found > 0


def test_prototypes_of_unknown_origin_or_without_direction_stay(make_taps: MakeTaps) -> None:
    objective = with_prototypes(make_taps, {"prototypes": {"refresh_epochs": 0}})
    made = objective.prototypes
    assert made is not None
    before = made.student.clone()
    origin_N2 = made.origin[0, 0, :1]
    zero, one = torch.zeros(3, 1, 6), torch.ones(3, 1, 8)
    made.refresh(PooledFeatures(zero, one), origin_N2)
    made.refresh(PooledFeatures(zero + torch.nan, one), origin_N2)
    made.refresh(PooledFeatures(zero + 1, one), torch.full_like(origin_N2, -1))
    made.refresh(PooledFeatures(zero[:, :0], one[:, :0]), origin_N2[:0])
    assert torch.equal(made.student, before)
    made.refresh(PooledFeatures(zero + 1, one), origin_N2)
    assert not torch.equal(made.student, before)


@pytest.mark.parametrize("interrupted_after", [2, 3])
def test_followed_prototypes_are_restored_with_the_state(make_taps: MakeTaps, interrupted_after: int) -> None:
    """The images of an epoch come again in the next ones."""

    def run(objective: Objective, epochs: range) -> list[dict[str, float]]:
        metrics = []
        for epoch in epochs:
            objective.begin_epoch(epoch, never)
            for seed in (1, 2):
                student, teacher = make_taps(seed=seed, boxes_per_image=(7, 5))
                neck = {stride: each.detach() + epoch * each.detach().flip(1) for stride, each in student.neck.items()}
                objective(dataclasses.replace(student, neck=neck), teacher)
            metrics.append(objective.end_epoch())
        return metrics

    changes = {
        "prototypes": {"refresh_epochs": 0},
        "center": "maps",
        "global_knowledge": {"representation": "coefficient"},
    }
    expected = run(build(changes, num_epochs=6), range(1, 6))
    first, second = build(changes, num_epochs=6), build(changes, num_epochs=6)
    run(first, range(1, interrupted_after + 1))
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    assert run(second, range(interrupted_after + 1, 6)) == expected[interrupted_after:]


def test_a_restored_feature_pass_is_not_repeated(make_taps: MakeTaps) -> None:
    changes = {"prototypes": {"source": FEATURE_PASS, "refresh_epochs": 0}}
    first, second = build(changes), build(changes)
    first.begin_epoch(1, source(make_taps))
    second.load_state_dict(first.state_dict())
    second.begin_epoch(2, never)
    first.begin_epoch(2, never)
    assert values_of(first(*make_taps())) == values_of(second(*make_taps()))


def test_a_copy_shares_no_state(make_taps: MakeTaps) -> None:
    objective = build()
    run_epochs(objective, make_taps, range(1, 2))
    state = copy.deepcopy(objective.state_dict())
    clone = copy.deepcopy(objective)
    run_epochs(clone, make_taps, range(2, 4))
    assert all(torch.equal(value, objective.state_dict()[name]) for name, value in state.items())


def test_prototypes_drawn_at_random_follow_from_the_seed(make_taps: MakeTaps) -> None:
    def origins(seed: int) -> list[list[int]]:
        changes = {
            "prototypes": {"source": FEATURE_PASS, "selector": "random", "density_quantile": 0.0, "per_class": 2}
        }
        objective = build(changes, seed=seed)
        objective.begin_epoch(1, source(make_taps))
        assert objective.prototypes is not None
        found: list[list[int]] = objective.prototypes.origin.flatten(0, 2).tolist()
        return found

    assert origins(1) == origins(1)
    assert origins(1) != origins(2)
