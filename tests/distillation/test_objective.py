"""The objective over steps and epochs."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from distune.config.distillation import DistillationSettings
from distune.detectors.taps import Instances, NeckMaps, StudentTaps, TeacherTaps
from distune.distillation.objective import Objective
from distune.errors import ConfigError

MakeTaps = Callable[..., tuple[StudentTaps, TeacherTaps]]
Batch = tuple[NeckMaps, NeckMaps, Instances]
TERMS = {"global_knowledge", "local_knowledge", "soft_labels"}
SWEEP = {"kind": "sweep", "max_images": 50}


def build(changes: dict[str, Any] | None = None, **arguments: Any) -> Objective:
    values: dict[str, Any] = {"min_box_side_px": 8.0, "per_class": 3, "density_quantile": 0.2}
    changes = dict(changes or {})
    prototypes = values | changes.pop("prototypes", {})
    local = {"base_size_px": 6.0} | changes.pop("local_knowledge", {})
    settings = DistillationSettings.model_validate({"prototypes": prototypes, "local_knowledge": local, **changes})
    known: dict[str, Any] = {
        "num_classes": 3,
        "strides": (8, 16, 32),
        "student_channels": 6,
        "teacher_channels": 8,
        "score_kind": "sigmoid",
        "num_epochs": 4,
        "seed": 0,
    }
    return Objective(settings, **(known | arguments))


def source(make_taps: MakeTaps, **arguments: Any) -> Callable[[int], Iterator[Batch]]:
    def sweep(_: int) -> Iterator[Batch]:
        for seed in range(20, 24):
            student, teacher = make_taps(seed=seed, boxes_per_image=(6, 6), **arguments)
            yield {s: m.detach() for s, m in student.neck.items()}, teacher.neck, student.instances

    return sweep


def never(_: int) -> Iterator[Batch]:
    raise AssertionError("no sweep is needed here")


def with_prototypes(make_taps: MakeTaps, changes: dict[str, Any] | None = None, **arguments: Any) -> Objective:
    changes = dict(changes or {})
    changes["prototypes"] = {"source": SWEEP} | changes.get("prototypes", {})
    objective = build(changes, **arguments)
    objective.begin_epoch(0, source(make_taps))
    return objective


def values_of(losses: dict[str, Tensor]) -> dict[str, float]:
    return {name: float(loss.detach()) for name, loss in losses.items()}


def run_epochs(objective: Objective, make_taps: MakeTaps, epochs: range) -> list[dict[str, float]]:
    """Trains nothing: two batches an epoch, which differ from epoch to epoch."""
    metrics = []
    for epoch in epochs:
        objective.begin_epoch(epoch, never)
        for step in range(2):
            objective(*make_taps(seed=10 * epoch + step, boxes_per_image=(7, 5)))
        metrics.append(objective.end_epoch())
    return metrics


def test_gives_each_term_and_its_gradient_to_the_student_alone(make_taps: MakeTaps) -> None:
    objective = with_prototypes(make_taps)
    for name in sorted(TERMS):
        student, teacher = make_taps()
        for teacher_map in teacher.neck.values():
            teacher_map.requires_grad_()
        losses = objective(student, teacher)
        assert losses.keys() == TERMS
        torch.autograd.backward(losses[name])
        received = [m.grad for m in (*student.neck.values(), student.scores.logits_RC) if m.grad is not None]
        assert sum(float(gradient.abs().sum()) for gradient in received) > 0
        assert all(m.grad is None for m in teacher.neck.values())
        assert all(value.requires_grad is False for value in objective.buffers())
        assert (student.scores.logits_RC.grad is not None) == (name == "soft_labels")


def test_a_student_that_sees_what_the_teacher_sees_has_nothing_to_learn(make_taps: MakeTaps) -> None:
    objective = build(
        {"prototypes": {"source": SWEEP}, "local_knowledge": {"adapter": "identity"}},
        student_channels=8,
    )
    objective.begin_epoch(0, source(make_taps, same=True))
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
    for values in (*student.neck.values(), student.scores.logits_RC):
        assert values.grad is None or values.grad.isfinite().all()
    metrics = objective.end_epoch()
    assert all(0 <= value < torch.inf for value in metrics.values())
    assert ("filter/kept_global" in metrics) == (sum(counts) > 0)


def test_autocast_changes_nothing(make_taps: MakeTaps) -> None:
    found = []
    for enabled in (False, True):
        objective = with_prototypes(make_taps)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            found.append(values_of(objective(*make_taps())))
    assert found[0] == found[1]


def permuted(student: StudentTaps, teacher: TeacherTaps, order: list[int]) -> tuple[StudentTaps, TeacherTaps]:
    """The same batch with its images, and so its boxes and places, in another order."""
    old = student.instances
    rows = torch.cat([(old.image_of_N == image).nonzero().squeeze(1) for image in order])
    targets = [
        {"boxes": old.boxes_N4[old.image_of_N == image], "labels": old.labels_N[old.image_of_N == image]}
        for image in order
    ]
    places = torch.randperm(len(student.scores.positive_R), generator=torch.Generator().manual_seed(0))
    scores = student.scores
    logits = teacher.logits_at(scores)[places]
    return (
        StudentTaps(
            student.losses,
            {s: m.detach()[order] for s, m in student.neck.items()},
            type(scores)(
                scores.logits_RC[places], scores.positive_R[places], rows.argsort()[scores.instance_R[places]], None
            ),
            Instances.of(targets, old.image_size),
        ),
        TeacherTaps({s: m[order] for s, m in teacher.neck.items()}, lambda _: logits),
    )


def test_the_order_of_images_does_not_matter(make_taps: MakeTaps) -> None:
    objective = with_prototypes(make_taps, {"filter": {"weight": "quantile", "local_threshold": 0.5}})
    batch = make_taps(boxes_per_image=(3, 0, 4, 2))
    before = values_of(objective(*batch))
    after = values_of(objective(*permuted(*batch, [2, 0, 3, 1])))
    assert before == pytest.approx(after, rel=1e-5)


def test_a_class_without_prototypes_weighs_one_and_is_counted(make_taps: MakeTaps) -> None:
    objective = build({"prototypes": {"source": SWEEP}}, num_classes=4)
    objective.begin_epoch(0, source(make_taps))
    assert objective.prototypes is not None
    assert objective.prototypes.valid[:, :3].any()
    assert not objective.prototypes.valid[:, 3].any()
    student, teacher = make_taps()
    student.instances.labels_N[:] = 4
    weights = objective.weigh(student.neck, teacher.neck, student.instances)
    assert weights.global_LN.tolist() == weights.local_LN.tolist() == [[1.0] * 7] * 3
    student.instances.labels_N[:3] = 1
    losses = objective(student, teacher)
    assert losses.keys() == TERMS
    assert objective.end_epoch()["filter/without_prototypes"] == pytest.approx(4 / 7)


def test_weigh_shows_the_weights_of_a_step(make_taps: MakeTaps) -> None:
    objective = with_prototypes(make_taps)
    student, teacher = make_taps()
    objective(student, teacher)
    weights = objective.weigh(student.neck, teacher.neck, student.instances)
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
    weighted.begin_epoch(3, source(make_taps))
    batches = [make_taps(seed=seed) for seed in range(2)]
    found = [values_of(weighted(*batch)) for batch in batches]
    decay = 0.25
    assert found[0]["global_knowledge"] == pytest.approx(plain["global_knowledge"] * 2 * decay)
    assert found[0]["local_knowledge"] == pytest.approx(plain["local_knowledge"] * 3 * decay)
    assert found[0]["soft_labels"] == pytest.approx(plain["soft_labels"] * 0.5 * decay)
    metrics = weighted.end_epoch()
    for name in TERMS:
        assert metrics[f"loss/{name}"] == pytest.approx((found[0][name] + found[1][name]) / 2)


def test_a_term_without_weight_is_not_there(make_taps: MakeTaps) -> None:
    objective = with_prototypes(make_taps, {"local_knowledge": {"weight": 0.0}, "soft_labels": {"weight": 0.0}})
    assert list(objective.parameters()) == []
    assert objective(*make_taps()).keys() == {"global_knowledge"}
    objective = with_prototypes(make_taps, {"global_knowledge": {"weight": 0.0}})
    assert len(list(objective.parameters())) == 6
    assert objective(*make_taps()).keys() == {"local_knowledge", "soft_labels"}


def test_without_any_weight_it_does_nothing_and_holds_nothing(make_taps: MakeTaps) -> None:
    objective = build({name: {"weight": 0.0} for name in TERMS})
    assert not any(objective.is_active_in(epoch) for epoch in range(4))
    objective.begin_epoch(0, never)
    assert objective(*make_taps()) == {}
    assert objective.end_epoch() == {}
    assert len(objective.state_dict()) == 0


def test_nothing_random_is_drawn_from_the_global_numbers(make_taps: MakeTaps) -> None:
    before = torch.get_rng_state()
    objective = build()
    run_epochs(objective, make_taps, range(3))
    assert torch.equal(torch.get_rng_state(), before)
    again, other = build(), build(seed=1)
    first = next(build().parameters())
    assert torch.equal(first, next(again.parameters()))
    assert not torch.equal(first, next(other.parameters()))


def test_acts_only_in_its_epochs(make_taps: MakeTaps) -> None:
    objective = build({"start_epoch": 1, "stop_epoch": 3, "prototypes": {"source": SWEEP}}, num_epochs=5)
    assert [objective.is_active_in(epoch) for epoch in range(5)] == [False, True, True, False, False]
    for epoch in range(5):
        objective.begin_epoch(epoch, source(make_taps) if epoch in (1, 2) else never)
        assert objective(*make_taps()).keys() == (TERMS if epoch in (1, 2) else set())
        assert ("prototypes/instances" in objective.end_epoch()) == (epoch in (1, 2))


def test_prototypes_from_a_harvest_serve_from_the_second_epoch_on(make_taps: MakeTaps) -> None:
    objective = build()
    objective.begin_epoch(0, never)
    losses = objective(*make_taps(boxes_per_image=(9, 9)))
    assert losses.keys() == {"local_knowledge", "soft_labels"}
    metrics = objective.end_epoch()
    assert metrics["filter/without_prototypes"] == metrics["filter/kept_local"] == 1
    assert "filter/discrepancy" not in metrics
    assert metrics["prototypes/instances"] > 9
    assert objective.prototypes is not None
    origins = objective.prototypes.origin[objective.prototypes.valid]
    assert (origins >= 0).all()
    objective.begin_epoch(1, never)
    assert objective(*make_taps()).keys() == TERMS
    assert objective.end_epoch()["filter/without_prototypes"] < 1


@pytest.mark.parametrize(
    ("refresh_epochs", "made_at_end_of"), [(1, [0, 1, 2, 3, 4]), (2, [0, 2, 4]), (4, [0, 4]), (0, [0])]
)
def test_harvest_is_refreshed_as_often_as_asked_and_never_for_nothing(
    make_taps: MakeTaps, refresh_epochs: int, made_at_end_of: list[int]
) -> None:
    objective = build({"prototypes": {"refresh_epochs": refresh_epochs}}, num_epochs=6)
    made = []
    for epoch in range(6):
        metrics = run_epochs(objective, make_taps, range(epoch, epoch + 1))[0]
        if "prototypes/instances" in metrics:
            made.append(epoch)
        assert objective.keeper is not None
        assert objective.keeper.harvest is not None
        waits = epoch < made_at_end_of[-1] and epoch not in made_at_end_of
        assert (int(objective.keeper.harvest.seen.sum()) > 0) == waits
    assert made == made_at_end_of


@pytest.mark.parametrize("interrupted_after", [1, 2, 3])
@pytest.mark.parametrize("refresh_epochs", [1, 3])
def test_a_restored_objective_goes_on_as_if_nothing_had_happened(
    make_taps: MakeTaps, interrupted_after: int, refresh_epochs: int
) -> None:
    def fresh() -> Objective:
        return build({"prototypes": {"refresh_epochs": refresh_epochs}}, num_epochs=6)

    whole = fresh()
    expected = run_epochs(whole, make_taps, range(6))
    first = fresh()
    run_epochs(first, make_taps, range(interrupted_after))
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second = fresh()
    second.load_state_dict(torch.load(file, weights_only=True), strict=True)
    assert (second.prototypes is None) == (first.prototypes is None)
    found = run_epochs(second, make_taps, range(interrupted_after, 6))
    assert found == expected[interrupted_after:]
    for name, value in whole.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name


def test_a_restored_sweep_is_not_repeated(make_taps: MakeTaps) -> None:
    changes = {"prototypes": {"source": SWEEP, "refresh_epochs": 0}}
    first, second = build(changes), build(changes)
    first.begin_epoch(0, source(make_taps))
    second.load_state_dict(first.state_dict())
    second.begin_epoch(1, never)
    first.begin_epoch(1, never)
    assert values_of(first(*make_taps())) == values_of(second(*make_taps()))


def test_a_copy_goes_its_own_way(make_taps: MakeTaps) -> None:
    objective = build()
    run_epochs(objective, make_taps, range(1))
    state = copy.deepcopy(objective.state_dict())
    clone = copy.deepcopy(objective)
    run_epochs(clone, make_taps, range(1, 3))
    assert all(torch.equal(value, objective.state_dict()[name]) for name, value in state.items())


def test_mode_does_not_matter(make_taps: MakeTaps) -> None:
    objective = with_prototypes(make_taps)
    trained = values_of(objective.train()(*make_taps()))
    assert values_of(objective.eval()(*make_taps())) == trained


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match="no stride in common"):
        build(strides=())
    with pytest.raises(ConfigError, match="use conv1x1"):
        build({"local_knowledge": {"adapter": "identity"}})
