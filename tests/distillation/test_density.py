"""The density filter, and the fallback when no instance is dense enough."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from distune.distillation.maps.pooling import l2_normalize
from distune.distillation.prototypes import density as density_module
from distune.distillation.prototypes.density import dense_candidates, density, estimated_density


def features(seed: int, num_instances: int, channels: int = 4, *, spread: float = 0.4) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    raw_ND = torch.randn(num_instances, channels, generator=generator, dtype=torch.float64) * spread + 1
    return l2_normalize(raw_ND)


def candidates(
    student_ND: Tensor, teacher_NE: Tensor, *, quantile: float = 0.4, at_least: int = 2
) -> tuple[Tensor, bool]:
    usable_N = student_ND.any(dim=1) & teacher_NE.any(dim=1)
    found = dense_candidates(student_ND, teacher_NE, usable_N, bandwidth=0.1, quantile=quantile, at_least=at_least)
    return found.indices_K, found.fell_back


@pytest.mark.parametrize("largest_block", [1, 50, 4_000_000])
def test_density_is_the_sum_of_its_equation_in_any_blocks(largest_block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(density_module, "_LARGEST_BLOCK", largest_block)
    unit_ND = features(0, 17)
    rows = unit_ND.tolist()
    expected = [
        sum(math.exp(-(((1 - sum(a * b for a, b in zip(x, y, strict=True))) / 0.1) ** 2)) for y in rows) for x in rows
    ]
    torch.testing.assert_close(density(unit_ND, bandwidth=0.1), torch.tensor(expected, dtype=torch.float64))


def test_keeps_instances_that_are_dense_in_both_spaces() -> None:
    student_ND, teacher_NE = features(1, 40), features(2, 40)
    indices_K, fell_back = candidates(student_ND, teacher_NE)
    rho_s, rho_t = density(student_ND, bandwidth=0.1), density(teacher_NE, bandwidth=0.1)
    expected = [n for n in range(40) if rho_s[n] > rho_s.quantile(0.4) and rho_t[n] > rho_t.quantile(0.4)]
    assert indices_K.tolist() == expected
    assert 0 < len(expected) < 40
    assert not fell_back


def test_an_outlier_in_either_space_is_left_out() -> None:
    alike_ND = features(3, 20, spread=0.05)
    odd_ND = alike_ND.clone()
    odd_ND[7] = -odd_ND[7]
    for student_ND, teacher_NE in ((odd_ND, alike_ND), (alike_ND, odd_ND)):
        indices_K, _ = candidates(student_ND, teacher_NE, quantile=0.1)
        assert 7 not in indices_K.tolist()


def test_quantile_zero_keeps_everything_usable() -> None:
    student_ND = features(1, 10)
    student_ND[4] = 0
    indices_K, fell_back = candidates(student_ND, features(2, 10), quantile=0.0)
    assert indices_K.tolist() == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    assert not fell_back


def test_one_instance_is_its_own_candidate() -> None:
    indices_K, fell_back = candidates(features(1, 1), features(2, 1))
    assert indices_K.tolist() == [0]
    assert fell_back


def test_equal_densities_fall_back() -> None:
    same_ND = features(1, 1).repeat(10, 1)
    indices_K, fell_back = candidates(same_ND, same_ND, at_least=3)
    assert indices_K.tolist() == [0, 1, 2, 3, 4, 5]
    assert fell_back


def test_spaces_that_disagree_fall_back_to_the_best_joint_rank() -> None:
    angle_N = torch.tensor([0.0, 0.01, 0.02, 0.5, 1.4, 2.8], dtype=torch.float64)
    student_ND = torch.stack([angle_N.cos(), angle_N.sin()], dim=1)
    # Dense in one space is sparse in the other; instances 0 and 3 are in between in both.
    indices_K, fell_back = candidates(student_ND, student_ND[[3, 4, 5, 0, 1, 2]], quantile=0.7, at_least=2)
    assert fell_back
    assert indices_K.tolist() == [0, 3]


def test_the_fallback_returns_the_requested_number() -> None:
    same_ND = features(1, 1).repeat(6, 1)
    for at_least, expected in ((5, 5), (50, 6)):
        indices_K, _ = candidates(same_ND, same_ND, quantile=0.9, at_least=at_least)
        assert indices_K.numel() == expected


def test_zero_features_are_never_candidates() -> None:
    student_ND, teacher_NE = features(1, 8), features(2, 8)
    student_ND[[0, 3]] = 0
    teacher_NE[5] = 0
    for quantile in (0.0, 0.4, 0.99):
        indices_K, _ = candidates(student_ND, teacher_NE, quantile=quantile)
        assert indices_K.numel() > 0
        assert not {0, 3, 5} & set(indices_K.tolist())
    indices_K, _ = candidates(student_ND * 0, teacher_NE)
    assert indices_K.numel() == 0


def test_no_instance_gives_no_candidate() -> None:
    indices_K, fell_back = candidates(torch.zeros(0, 4), torch.zeros(0, 4))
    assert indices_K.numel() == 0
    assert not fell_back


def test_the_estimate_from_all_instances_is_exact() -> None:
    unit_ND = features(0, 30)
    rho_N, error_N = estimated_density(unit_ND, bandwidth=0.1, num_references=30, seed=0)
    torch.testing.assert_close(rho_N, density(unit_ND, bandwidth=0.1), rtol=1e-5, atol=1e-5)
    assert float(error_N.max()) < 1e-6


@pytest.mark.parametrize("largest_block", [100, 4_000_000])
def test_the_estimate_has_no_bias_and_the_error_that_it_states(
    largest_block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(density_module, "_LARGEST_BLOCK", largest_block)
    unit_ND = features(3, 120)
    exact_N = density(unit_ND, bandwidth=0.1)
    estimates, errors = [], []
    for seed in range(200):
        rho_N, error_N = estimated_density(unit_ND, bandwidth=0.1, num_references=40, seed=seed)
        estimates.append(rho_N)
        errors.append(error_N)
    difference_SN = torch.stack(estimates) - exact_N
    stated = torch.stack(errors).square().mean().sqrt()
    assert float(difference_SN.mean(dim=0).abs().max()) < 5 * float(stated) / 200**0.5
    assert float(difference_SN.square().mean().sqrt() / stated) == pytest.approx(1, abs=0.05)


def test_the_estimate_counts_an_instance_itself_once() -> None:
    unit_ND = torch.eye(20, dtype=torch.float64)
    rho_N, error_N = estimated_density(unit_ND, bandwidth=0.1, num_references=10, seed=0)
    assert rho_N.tolist() == pytest.approx([1.0] * 20)
    assert error_N.tolist() == pytest.approx([0.0] * 20)


def test_densities_of_many_instances_are_estimated_and_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    student_ND, teacher_NE = features(1, 60), features(2, 60)
    usable_N = torch.ones(60, dtype=torch.bool)
    usable_N[5] = False
    student_ND[5] = 0

    def found(quantile: float = 0.4) -> density_module.Candidates:
        return dense_candidates(student_ND, teacher_NE, usable_N, bandwidth=0.1, quantile=quantile, at_least=2, seed=3)

    exact = found()
    monkeypatch.setattr(density_module, "_LARGEST_EXACT", 59)
    monkeypatch.setattr(density_module, "_NUM_REFERENCES", 30)
    estimated = found()
    assert exact.density_error is None
    assert estimated.density_error is not None
    assert 0 < estimated.density_error < 0.5
    assert estimated.indices_K.tolist() == found().indices_K.tolist()
    both = set(exact.indices_K.tolist()) & set(estimated.indices_K.tolist())
    assert len(both) > 0.6 * exact.indices_K.numel()
    assert found(quantile=0.0).density_error is None
