"""The contract of all selectors, and the results of each."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from distune.distillation.maps.pooling import l2_normalize
from distune.distillation.prototypes.orthogonal_pursuit import pursue_orthogonally
from distune.distillation.prototypes.pursuit import pursue
from distune.distillation.prototypes.ridge import residual_sum_of_squares
from distune.distillation.prototypes.selectors import SELECTORS, SelectionOptions


def features(seed: int, num_instances: int, channels: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return l2_normalize(torch.randn(num_instances, channels, generator=generator, dtype=torch.float64) + 0.5)


def options(num_prototypes: int = 4, *, alpha: float = 10.0, seed: int = 0) -> SelectionOptions:
    return SelectionOptions(num_prototypes=num_prototypes, alpha=alpha, unique=True, seed=seed)


def clustered(num_clusters: int) -> Tensor:
    """Ten instances around each axis, the n-th of cluster c in row 10 c + n."""
    noise_ND = torch.randn(10 * num_clusters, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return l2_normalize(torch.eye(8, dtype=torch.float64)[:num_clusters].repeat_interleave(10, dim=0) + 0.02 * noise_ND)


@pytest.mark.parametrize("name", SELECTORS)
class TestContract:
    def test_selects_different_candidates_as_many_as_there_are(self, name: str) -> None:
        student_ND, teacher_NE = features(0, 30, 5), features(1, 30, 7)
        candidates_K = torch.tensor([29, 3, 4, 11, 8, 20, 3])
        for number, expected in ((1, 1), (4, 4), (6, 6), (50, 6)):
            selected = SELECTORS[name](student_ND, teacher_NE, candidates_K, options(number)).tolist()
            assert len(selected) == len(set(selected)) == expected
            assert set(selected) <= {3, 4, 8, 11, 20, 29}

    def test_the_same_call_gives_the_same_answer_for_any_global_random_state(self, name: str) -> None:
        student_ND, teacher_NE = features(0, 30, 5), features(1, 30, 7)
        selected = []
        for state in (0, 1):
            torch.manual_seed(state)
            selected.append(SELECTORS[name](student_ND, teacher_NE, torch.arange(30), options(5)).tolist())
        assert selected[0] == selected[1]

    def test_float32_selects_what_float64_does(self, name: str) -> None:
        student_ND, teacher_NE = features(0, 30, 5), features(1, 30, 7)
        selected = [
            SELECTORS[name](student_ND.to(dtype), teacher_NE.to(dtype), torch.arange(30), options(5)).tolist()
            for dtype in (torch.float32, torch.float64)
        ]
        assert selected[0] == selected[1]

    @pytest.mark.parametrize("alpha", [0.0, 10.0])
    def test_equal_zero_and_single_instances(self, name: str, alpha: float) -> None:
        same_ND = features(0, 1, 5).repeat(6, 1)
        selected = SELECTORS[name](same_ND, same_ND, torch.arange(6), options(4, alpha=alpha)).tolist()
        assert len(set(selected)) == 4
        assert SELECTORS[name](same_ND * 0, same_ND, torch.arange(6), options(2, alpha=alpha)).numel() == 2
        assert SELECTORS[name](same_ND[:1], same_ND[:1], torch.tensor([0]), options(3, alpha=alpha)).tolist() == [0]

    def test_channels_that_are_zero_change_nothing(self, name: str) -> None:
        student_ND, teacher_NE = features(0, 30, 5), features(1, 30, 7)
        padded_ND = torch.cat([student_ND, torch.zeros(30, 4, dtype=torch.float64)], dim=1)
        selected = [
            SELECTORS[name](each, teacher_NE, torch.arange(30), options(5)).tolist() for each in (student_ND, padded_ND)
        ]
        assert selected[0] == selected[1]

    def test_wrong_arguments_are_refused_with_the_reason(self, name: str) -> None:
        one, two, index = features(0, 1, 3), features(0, 2, 3), torch.tensor([0])
        with pytest.raises(ValueError, match="1 instances and the teacher 2"):
            SELECTORS[name](one, two, index, options())
        with pytest.raises(ValueError, match="no candidate"):
            SELECTORS[name](two, two, index[:0], options())
        with pytest.raises(ValueError, match="num_prototypes = 0 must be at least 1"):
            SELECTORS[name](two, two, index, options(0))

    def test_the_given_features_are_not_modified(self, name: str) -> None:
        student_ND, teacher_NE = features(0, 30, 5), features(1, 30, 7)
        SELECTORS[name](student_ND, teacher_NE, torch.arange(30), options(5))
        assert torch.equal(student_ND, features(0, 30, 5))
        assert torch.equal(teacher_NE, features(1, 30, 7))


def left_after_refit(
    student_ND: Tensor, teacher_NE: Tensor, selected: list[int], alpha: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Residuals of both spaces and the summed objective, from dense least squares with the penalty as rows."""
    num_selected = len(selected)
    zeros_s = torch.zeros(student_ND.shape[1], num_selected, dtype=torch.float64)
    zeros_t = torch.zeros(teacher_NE.shape[1], num_selected, dtype=torch.float64)
    tie = alpha**0.5 * torch.eye(num_selected, dtype=torch.float64)
    columns = torch.cat(
        [
            torch.cat([student_ND[selected].T, zeros_s], dim=1),
            torch.cat([zeros_t, teacher_NE[selected].T], dim=1),
            torch.cat([tie, -tie], dim=1),
        ]
    )
    targets = torch.cat([student_ND.T, teacher_NE.T, torch.zeros(num_selected, len(student_ND), dtype=torch.float64)])
    left = targets - columns @ torch.linalg.lstsq(columns, targets, driver="gelsd").solution
    return left[: student_ND.shape[1]].T, left[student_ND.shape[1] :][: teacher_NE.shape[1]].T, left.square().sum()


def literal_orthogonal(
    student_ND: Tensor, teacher_NE: Tensor, candidates: list[int], num_prototypes: int, alpha: float
) -> list[int]:
    """Scores candidate by candidate from explicit residuals, and solves the whole fit again after each selection."""
    residual_s_ND, residual_t_ND = student_ND, teacher_NE
    selected: list[int] = []
    while len(selected) < num_prototypes:
        errors = {}
        for k in candidates:
            if k not in selected:
                a_N, b_N = residual_s_ND @ student_ND[k], residual_t_ND @ teacher_NE[k]
                w_s, w_t = ((alpha * (a_N + b_N) + each) / (1 + 2 * alpha) for each in (a_N, b_N))
                left_s = residual_s_ND - w_s[:, None] * student_ND[k]
                left_t = residual_t_ND - w_t[:, None] * teacher_NE[k]
                errors[k] = float(left_s.square().sum() + left_t.square().sum() + alpha * (w_s - w_t).square().sum())
        selected.append(min(errors, key=lambda k: errors[k]))
        residual_s_ND, residual_t_ND, _ = left_after_refit(student_ND, teacher_NE, selected, alpha)
    return selected


@pytest.mark.parametrize("alpha", [0.0, 0.3, 10.0])
@pytest.mark.parametrize(("seed", "sizes"), [(0, (18, 5, 5)), (1, (25, 4, 7)), (2, (40, 9, 12))])
def test_orthogonal_selects_what_the_literal_algorithm_selects(
    seed: int, sizes: tuple[int, int, int], alpha: float
) -> None:
    num_instances, student_channels, teacher_channels = sizes
    student_ND = features(seed, num_instances, student_channels)
    teacher_NE = features(seed + 50, num_instances, teacher_channels)
    candidates = list(range(0, num_instances, 2))
    expected = literal_orthogonal(student_ND, teacher_NE, candidates, 5, alpha)
    selected = pursue_orthogonally(student_ND, teacher_NE, torch.tensor(candidates), num_prototypes=5, alpha=alpha)
    assert selected.tolist() == expected


def test_orthogonal_starts_like_pursuit_and_then_differs() -> None:
    student_ND, teacher_NE = features(5, 40, 6), features(6, 40, 6)
    plain = pursue(student_ND, teacher_NE, torch.arange(40), num_prototypes=8, alpha=1.0, unique=True).tolist()
    refitted = pursue_orthogonally(student_ND, teacher_NE, torch.arange(40), num_prototypes=8, alpha=1.0).tolist()
    assert plain[0] == refitted[0]
    assert plain != refitted


def test_orthogonal_accepts_selections_that_add_nothing() -> None:
    student_ND, teacher_NE = features(5, 3, 2).repeat(4, 1), features(6, 3, 2).repeat(4, 1)
    for alpha in (0.0, 10.0):
        selected = pursue_orthogonally(student_ND, teacher_NE, torch.arange(12), num_prototypes=12, alpha=alpha)
        assert sorted(selected.tolist()) == list(range(12))
    with pytest.raises(ValueError, match=r"alpha = -1\.0 must be at least 0"):
        pursue_orthogonally(student_ND, teacher_NE, torch.arange(12), num_prototypes=2, alpha=-1.0)


@pytest.mark.parametrize("name", ["pursuit", "orthogonal", "kmeans"])
def test_every_informed_selector_finds_all_clusters(name: str) -> None:
    student_ND = clustered(4)
    selected = SELECTORS[name](student_ND, student_ND, torch.arange(40), options(4))
    assert sorted((selected // 10).tolist()) == [0, 1, 2, 3]


def test_kmeans_selects_the_largest_cluster_first_and_the_nearest_to_its_center() -> None:
    student_ND = clustered(3)[:23]
    selected = SELECTORS["kmeans"](student_ND, student_ND, torch.arange(2, 23), options(3)).tolist()
    for index, members in zip(selected, (range(10, 20), range(2, 10), range(20, 23)), strict=True):
        center_D = student_ND[list(members)].mean(dim=0)
        assert index == min(members, key=lambda n: float((student_ND[n] - center_D).norm()))


def test_random_depends_on_its_seed_alone() -> None:
    student_ND, teacher_NE = features(0, 40, 5), features(1, 40, 7)
    draws = [
        SELECTORS["random"](student_ND, teacher_NE, torch.arange(40), options(5, seed=seed)).tolist() for seed in (0, 1)
    ]
    assert draws[0] != draws[1]
    other = SELECTORS["random"](teacher_NE, student_ND, torch.arange(39, -1, -1), options(5))
    assert other.tolist() == draws[0]
    often = torch.cat(
        [SELECTORS["random"](student_ND, teacher_NE, torch.arange(5), options(1, seed=s)) for s in range(60)]
    )
    assert set(often.tolist()) == {0, 1, 2, 3, 4}


def test_pursuit_reconstructs_more_than_a_random_selection() -> None:
    student_ND, teacher_NE = features(0, 80, 12), features(1, 80, 12)
    error = {
        name: float(
            residual_sum_of_squares(
                student_ND, student_ND[select(student_ND, teacher_NE, torch.arange(80), options(6))]
            )
        )
        for name, select in SELECTORS.items()
    }
    assert error["pursuit"] < error["random"]
    assert error["orthogonal"] < error["random"]
