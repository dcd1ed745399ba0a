"""Prototypes of all classes and levels: what they hold, and what is reported about them."""

from __future__ import annotations

import dataclasses
import io
import math
from typing import Any

import pytest
import torch

from distune.distillation.maps.pooling import l2_normalize
from distune.distillation.prototypes import density as density_module
from distune.distillation.prototypes.prototype_report import PrototypeReport
from distune.distillation.prototypes.prototypes import InstanceFeatures, Prototypes, make_prototypes
from distune.distillation.prototypes.ridge import dual_basis, residual_sum_of_squares
from distune.distillation.prototypes.selectors import SELECTORS

STRIDES = (8, 16)


def features(seed: int = 0, *, num_instances: int = 60, num_classes: int = 3) -> InstanceFeatures:
    generator = torch.Generator().manual_seed(seed)
    return InstanceFeatures(
        student_LND=torch.randn(2, num_instances, 5, generator=generator) * 3 + 1,
        teacher_LNE=torch.randn(2, num_instances, 7, generator=generator) + 1,
        labels_N=torch.randint(1, num_classes + 1, (num_instances,), generator=generator),
        origin_N2=torch.stack([torch.arange(num_instances), torch.arange(num_instances) + 1000], dim=1),
    )


def make(found: InstanceFeatures, **changes: Any) -> tuple[Prototypes, PrototypeReport]:
    settings: dict[str, Any] = {
        "num_classes": 3,
        "num_prototypes": 4,
        "alpha": 10.0,
        "unique": True,
        "density_bandwidth": 0.1,
        "density_quantile": 0.3,
    }
    return make_prototypes(found, STRIDES, **(settings | changes))


def test_each_row_is_one_instance_of_the_class_in_both_spaces() -> None:
    found = features()
    prototypes, report = make(found)
    assert prototypes.valid.all()
    for level in range(2):
        for class_index in range(3):
            for row in range(4):
                image, box = prototypes.origin[level, class_index, row].tolist()
                assert box == image + 1000
                assert found.labels_N[image] == class_index + 1
                torch.testing.assert_close(
                    prototypes.student[level, class_index, row], l2_normalize(found.student_LND[level, image])
                )
                torch.testing.assert_close(
                    prototypes.teacher[level, class_index, row], l2_normalize(found.teacher_LNE[level, image])
                )
    assert report.instances == 60
    assert report.per_class == 4
    assert report.classes_without == report.classes_fell_back == report.repeats == 0
    assert 0 < report.kept_by_density < 0.7
    assert 0 < report.reconstruction_error < 1


def test_instances_of_one_class_do_not_change_the_prototypes_of_another() -> None:
    found = features()
    changed = features()
    of_class_1 = changed.labels_N == 1
    changed.student_LND[:, of_class_1] += 5
    before, after = make(found)[0], make(changed)[0]
    assert torch.equal(before.student[:, 1:], after.student[:, 1:])
    assert not torch.equal(before.student[:, 0], after.student[:, 0])


def test_classes_with_no_one_or_few_instances() -> None:
    found = features(num_instances=9)
    found.labels_N[:] = torch.tensor([1, 1, 1, 1, 1, 1, 1, 3, 1])
    prototypes, report = make(found)
    assert prototypes.valid.sum(dim=2).tolist() == [[4, 0, 1], [4, 0, 1]] or report.kept_by_density < 1
    assert not prototypes.valid[:, 1].any()
    assert prototypes.valid[:, 2].sum(dim=1).tolist() == [1, 1]
    assert prototypes.origin[0, 2, 0].tolist() == [7, 1007]
    assert prototypes.origin[0, 2, 1].tolist() == [-1, -1]
    assert prototypes.student[~prototypes.valid].abs().sum() == 0
    assert report.classes_without == 1
    assert report.classes_fell_back >= 1


def test_no_instance_at_all() -> None:
    prototypes, report = make(features(num_instances=0))
    assert not prototypes.valid.any()
    assert report.classes_without == 3
    assert report.reconstruction_error == report.kept_by_density == report.repeats == 0


def test_zero_and_non_finite_features_are_left_out() -> None:
    found = features()
    of_class_2 = (found.labels_N == 2).nonzero().squeeze(1)
    found.student_LND[:, of_class_2] = 0
    found.student_LND[0, (found.labels_N == 1).nonzero()[0]] = torch.nan
    found.teacher_LNE[1, (found.labels_N == 1).nonzero()[1]] = torch.inf
    prototypes, report = make(found)
    assert not prototypes.valid[:, 1].any()
    assert prototypes.valid[:, [0, 2]].all()
    assert report.classes_without == 1
    assert all(value.isfinite().all() for value in prototypes.state_dict().values())


@pytest.mark.parametrize("selector", SELECTORS)
def test_every_selector_handles_degenerate_classes(selector: str) -> None:
    found = features(num_instances=40, num_classes=6)
    found.labels_N[:] = torch.tensor([1] * 10 + [2] * 10 + [3] + [4] * 9 + [5] * 10)
    found.student_LND[:, 10:20] = found.student_LND[:, 10:11]  # class 2: all alike
    found.teacher_LNE[:, 10:20] = found.teacher_LNE[:, 10:11]
    found.student_LND[:, 21:30] = 0  # class 4: nothing in one model
    found.teacher_LNE[0, 30:38] = torch.nan  # class 5: two usable instances on one level
    found.student_LND[:, :, 3:] = 0  # channels that another level has
    prototypes, report = make(found, num_classes=6, selector=selector, num_prototypes=5, density_quantile=0.0)
    assert prototypes.valid.sum(dim=2).tolist() == [[5, 5, 1, 0, 2, 0], [5, 5, 1, 0, 5, 0]]
    assert all(value.isfinite().all() for value in prototypes.state_dict().values())
    assert all(math.isfinite(value) for value in report.metrics().values())
    assert report.classes_without == 2
    assert report.repeats == 0
    origins = [tuple(each) for each in prototypes.origin[0, 1].tolist()]
    assert len(set(origins)) == 5


@pytest.mark.parametrize("selector", ["kmeans", "random"])
def test_the_seed_is_of_the_call_the_class_and_the_level(selector: str) -> None:
    found = features(num_instances=90)
    first, same, other = (make(found, selector=selector, seed=seed)[0].origin for seed in (0, 0, 1))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    twice = dataclasses.replace(
        found, student_LND=found.student_LND[:1].repeat(2, 1, 1), teacher_LNE=found.teacher_LNE[:1].repeat(2, 1, 1)
    )
    drawn = make(twice, selector="random")[0].origin
    assert not torch.equal(drawn[0], drawn[1])


def test_coverage_is_the_mean_cosine_to_the_nearest_prototype() -> None:
    found = features()
    found.student_LND[1, 7] = 0
    prototypes, report = make(found)
    cosines: dict[str, list[float]] = {"student": [], "teacher": []}
    for level in range(2):
        for n, label in enumerate(found.labels_N.tolist()):
            for name, raw_LNC, space in (
                ("student", found.student_LND, prototypes.student),
                ("teacher", found.teacher_LNE, prototypes.teacher),
            ):
                if raw_LNC[level, n].any():
                    cosines[name].append(float((space[level, label - 1] @ l2_normalize(raw_LNC[level, n])).max()))
    assert report.coverage_student == pytest.approx(sum(cosines["student"]) / 119, abs=1e-6)
    assert report.coverage_teacher == pytest.approx(sum(cosines["teacher"]) / 120, abs=1e-6)
    more = make(found, num_prototypes=9)[1]
    assert more.coverage_student > report.coverage_student


def test_an_estimated_density_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    found = features(num_instances=90)
    exact = make(found)[1]
    assert exact.density_estimated == exact.density_error == 0
    counts = torch.bincount(found.labels_N)[1:]
    monkeypatch.setattr(density_module, "_LARGEST_EXACT", int(counts.max()) - 1)
    monkeypatch.setattr(density_module, "_NUM_REFERENCES", 12)
    estimated = make(found)[1]
    assert estimated.density_estimated == pytest.approx(float(counts[counts == counts.max()].sum() / 90))
    assert 0 < estimated.density_error < 1


def test_repeats_are_counted() -> None:
    _, report = make(features(num_instances=20), unique=False, num_prototypes=20)
    assert report.repeats > 0.5
    assert report.per_class == 20


@pytest.mark.parametrize(
    "change",
    [
        {"alpha": 0.0},
        {"density_bandwidth": 0.02},
        {"density_quantile": 0.8},
        {"num_prototypes": 3},
        {"unique": False},
        {"selector": "orthogonal"},
        {"selector": "kmeans"},
        {"selector": "random"},
    ],
)
def test_every_setting_changes_the_prototypes(change: dict[str, Any]) -> None:
    found = features(num_instances=30)
    plain = make(found, num_prototypes=6)[0]
    changed = make(found, **({"num_prototypes": 6} | change))[0]
    assert plain.origin.tolist() != changed.origin.tolist()


def test_more_prototypes_reconstruct_more() -> None:
    errors = [
        make(features(), num_prototypes=count, density_quantile=0.0)[1].reconstruction_error for count in (1, 3, 9)
    ]
    assert errors[0] > errors[1] > errors[2]


def test_they_are_saved_and_loaded_with_weights_only() -> None:
    prototypes, _ = make(features())
    file = io.BytesIO()
    torch.save(prototypes.state_dict(), file)
    file.seek(0)
    empty = Prototypes(STRIDES, num_classes=3, num_prototypes=4, student_channels=5, teacher_channels=7)
    assert not empty.valid.any()
    empty.load_state_dict(torch.load(file, weights_only=True))
    for name, value in prototypes.state_dict().items():
        assert torch.equal(value, empty.state_dict()[name]), name


def test_metrics_are_plain_numbers_under_one_prefix() -> None:
    metrics = make(features())[1].metrics()
    assert {"prototypes/repeats", "prototypes/reconstruction_error", "prototypes/classes_without"} <= metrics.keys()
    assert all(type(value) is float for value in metrics.values())


def test_dual_basis_gives_the_ridge_coefficients() -> None:
    generator = torch.Generator().manual_seed(0)
    basis_MD = l2_normalize(torch.randn(4, 6, generator=generator, dtype=torch.float64))
    feature_D = torch.randn(6, generator=generator, dtype=torch.float64)
    ridge_rows = torch.cat([basis_MD.T, 0.1 * torch.eye(4, dtype=torch.float64)])
    target = torch.cat([feature_D, torch.zeros(4, dtype=torch.float64)])
    expected = torch.linalg.lstsq(ridge_rows, target[:, None]).solution.squeeze(1)
    torch.testing.assert_close(dual_basis(basis_MD) @ feature_D, expected)


def test_prototypes_hold_the_dual_of_each_space() -> None:
    prototypes, _ = make(features())
    for basis, dual in ((prototypes.student, prototypes.student_dual), (prototypes.teacher, prototypes.teacher_dual)):
        for level in range(2):
            for class_index in range(3):
                expected = dual_basis(basis[level, class_index].double())
                torch.testing.assert_close(dual[level, class_index].double(), expected, rtol=1e-4, atol=1e-5)


def test_dual_basis_of_repeated_vectors_shares_between_them() -> None:
    basis_MD = l2_normalize(torch.tensor([[1.0, 2.0, 0.0], [1.0, 2.0, 0.0]], dtype=torch.float64))
    first, second = (dual_basis(basis_MD) @ basis_MD[0]).tolist()
    assert first == pytest.approx(second)
    assert first == pytest.approx(0.5, abs=0.01)


def test_a_basis_leaves_no_residual_of_itself() -> None:
    basis_MD = l2_normalize(torch.randn(3, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64))
    assert float(residual_sum_of_squares(basis_MD, basis_MD)) < 0.01
    assert float(residual_sum_of_squares(basis_MD, basis_MD[:0])) == pytest.approx(3.0)
