"""Joint matching pursuit against the algorithm as the objective states it, number by number."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from distune.distillation.maps.pooling import l2_normalize
from distune.distillation.prototypes.pursuit import pursue


def features(seed: int, num_instances: int, channels: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    # A common direction, as features of one class have: without it all candidates are alike.
    raw_ND = torch.randn(num_instances, channels, generator=generator, dtype=torch.float64) + 0.5
    return l2_normalize(raw_ND)


def dot(x: list[float], y: list[float]) -> float:
    return sum(a * b for a, b in zip(x, y, strict=True))


def less(x: list[float], y: list[float], factor: float) -> list[float]:
    return [a - factor * b for a, b in zip(x, y, strict=True)]


def literal_pursuit(
    student: list[list[float]],
    teacher: list[list[float]],
    candidates: list[int],
    *,
    num_prototypes: int,
    alpha: float,
    unique: bool,
) -> list[int]:
    """For each candidate and instance solve for the two coefficients, sum the errors, take the least, subtract."""
    residual_s, residual_t = [list(row) for row in student], [list(row) for row in teacher]
    selected: list[int] = []
    while len(selected) < num_prototypes:
        best, best_error = -1, float("inf")
        for k in candidates:
            if unique and k in selected:
                continue
            error = 0.0
            for r_s, r_t in zip(residual_s, residual_t, strict=True):
                w_s, w_t = coefficients(dot(student[k], r_s), dot(teacher[k], r_t), alpha)
                left_s, left_t = less(r_s, student[k], w_s), less(r_t, teacher[k], w_t)
                error += dot(left_s, left_s) + dot(left_t, left_t) + alpha * (w_s - w_t) ** 2
            if error < best_error - 1e-9:
                best, best_error = k, error
        selected.append(best)
        for n in range(len(student)):
            a, b = dot(student[best], residual_s[n]), dot(teacher[best], residual_t[n])
            w_s, w_t = coefficients(a, b, alpha)
            residual_s[n] = less(residual_s[n], student[best], w_s)
            residual_t[n] = less(residual_t[n], teacher[best], w_t)
    return selected


def coefficients(a: float, b: float, alpha: float) -> tuple[float, float]:
    """The stationary point of ``(a - w_s)^2 + (b - w_t)^2 + alpha (w_s - w_t)^2``, by Cramer's rule."""
    determinant = (1 + alpha) ** 2 - alpha**2
    return ((1 + alpha) * a + alpha * b) / determinant, ((1 + alpha) * b + alpha * a) / determinant


@pytest.mark.parametrize("unique", [True, False])
@pytest.mark.parametrize("alpha", [0.0, 0.3, 10.0])
@pytest.mark.parametrize(("seed", "sizes"), [(0, (18, 5, 5)), (1, (25, 4, 7)), (2, (14, 8, 3)), (3, (40, 6, 9))])
def test_selects_what_the_literal_algorithm_selects(
    seed: int, sizes: tuple[int, int, int], alpha: float, unique: bool
) -> None:
    num_instances, student_channels, teacher_channels = sizes
    student_ND = features(seed, num_instances, student_channels)
    teacher_NE = features(seed + 50, num_instances, teacher_channels)
    candidates_K = torch.randperm(num_instances, generator=torch.Generator().manual_seed(seed))[: num_instances // 2]
    expected = literal_pursuit(
        student_ND.tolist(),
        teacher_NE.tolist(),
        sorted(candidates_K.tolist()),
        num_prototypes=5,
        alpha=alpha,
        unique=unique,
    )
    selected = pursue(student_ND, teacher_NE, candidates_K, num_prototypes=5, alpha=alpha, unique=unique)
    assert selected.tolist() == expected


def test_plain_pursuit_repeats_and_unique_does_not() -> None:
    student_ND, teacher_NE = features(7, 12, 3), features(8, 12, 3)
    some_K = torch.arange(3)
    plain = pursue(student_ND, teacher_NE, some_K, num_prototypes=8, alpha=10.0, unique=False)
    unique = pursue(student_ND, teacher_NE, some_K, num_prototypes=8, alpha=10.0, unique=True)
    assert plain.shape == (8,)
    assert sorted(unique.tolist()) == [0, 1, 2]


@pytest.mark.parametrize("unique", [True, False])
def test_among_equal_candidates_the_lowest_index_wins(unique: bool) -> None:
    student_ND, teacher_NE = features(3, 9, 5).repeat(3, 1), features(4, 9, 6).repeat(3, 1)
    backwards_K = torch.arange(26, -1, -1)
    selected = pursue(student_ND, teacher_NE, backwards_K, num_prototypes=3, alpha=1.0, unique=unique)
    assert all(index < 9 for index in selected.tolist())


def test_candidates_that_differ_by_rounding_alone_are_equal() -> None:
    student_ND, teacher_NE = features(3, 9, 5), features(4, 9, 6)
    first = int(pursue(student_ND, teacher_NE, torch.arange(9), num_prototypes=1, alpha=1.0, unique=True))
    student_ND = torch.cat([student_ND, student_ND[first : first + 1] * (1 + 4e-16)])
    teacher_NE = torch.cat([teacher_NE, teacher_NE[first : first + 1] * (1 + 4e-16)])
    assert int(pursue(student_ND, teacher_NE, torch.arange(10), num_prototypes=1, alpha=1.0, unique=True)) == first


def test_a_candidate_given_twice_is_one_candidate() -> None:
    student_ND, teacher_NE = features(3, 6, 5), features(4, 6, 6)
    selected = pursue(student_ND, teacher_NE, torch.tensor([2, 2, 5]), num_prototypes=3, alpha=1.0, unique=True)
    assert sorted(selected.tolist()) == [2, 5]


def test_residuals_are_over_all_instances_and_not_the_candidates_alone() -> None:
    crowd_ND = torch.tensor([[1.0, 0.0]]).repeat(9, 1)
    student_ND = torch.cat([torch.tensor([[0.6, 0.8], [0.8, 0.6]]), crowd_ND])
    selected = pursue(student_ND, student_ND, torch.tensor([0, 1]), num_prototypes=1, alpha=1.0, unique=True)
    assert selected.tolist() == [1]


def test_float32_features_are_computed_in_float64() -> None:
    student_ND, teacher_NE = features(5, 30, 16), features(6, 30, 16)
    selections = [
        pursue(student_ND.to(dtype), teacher_NE.to(dtype), torch.arange(30), num_prototypes=6, alpha=10.0, unique=True)
        for dtype in (torch.float32, torch.float64)
    ]
    assert selections[0].tolist() == selections[1].tolist()


def test_wrong_arguments_are_refused_with_the_reason() -> None:
    one, two, index = features(0, 1, 3), features(0, 2, 3), torch.tensor([0])
    with pytest.raises(ValueError, match="1 instances and the teacher 2"):
        pursue(one, two, index, num_prototypes=1, alpha=1.0, unique=True)
    with pytest.raises(ValueError, match="no candidate"):
        pursue(two, two, index[:0], num_prototypes=1, alpha=1.0, unique=True)
    with pytest.raises(ValueError, match="num_prototypes = 0 must be at least 1"):
        pursue(two, two, index, num_prototypes=0, alpha=1.0, unique=True)
    with pytest.raises(ValueError, match=r"alpha = -1\.0 must be at least 0"):
        pursue(two, two, index, num_prototypes=1, alpha=-1.0, unique=True)
