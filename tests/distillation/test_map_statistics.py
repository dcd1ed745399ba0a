"""Standardized targets: the statistics are those of all cells so far, and no level outweighs another."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from distune.detectors.taps import StudentTaps, TeacherTaps
from distune.distillation.maps.map_statistics import MapStatistics, PairStatistics
from support.objectives import build, never, source, values_of

MakeTaps = Callable[..., tuple[StudentTaps, TeacherTaps]]
Scale = Literal["level", "channel"]
SCALES: tuple[Scale, ...] = ("level", "channel")


def maps_of(seed: int, sizes: list[tuple[int, int, int]], channels: int = 3) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    offsets_E = 10 * torch.randn(channels, 1, 1, generator=generator)
    spreads_E = 5 * torch.rand(channels, 1, 1, generator=generator) + 0.5
    return [offsets_E + spreads_E * torch.randn(b, channels, h, w, generator=generator) for b, h, w in sizes]


@given(
    seed=st.integers(0, 1000),
    sizes=st.lists(st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=5),
)
def test_statistics_are_those_of_all_cells_together(seed: int, sizes: list[tuple[int, int, int]]) -> None:
    maps = maps_of(seed, sizes)
    statistics = MapStatistics([2, 3], "channel")
    for each in maps:
        statistics.update(1, each)
    cells_EM = torch.cat([each.transpose(0, 1).flatten(1) for each in maps], dim=1).double()
    torch.testing.assert_close(statistics.means_C[2:].double(), cells_EM.mean(dim=1), rtol=1e-4, atol=1e-4)
    expected = cells_EM.var(dim=1, correction=0)
    torch.testing.assert_close(statistics.variances_C[2:].double(), expected, rtol=1e-3, atol=1e-3)
    assert statistics.counts_L.tolist() == [0, cells_EM.shape[1]]
    assert not statistics.means_C[:2].any()


def test_a_channel_has_mean_0_and_variance_1() -> None:
    (only,) = maps_of(0, [(4, 6, 5)])
    found = MapStatistics([3], "channel").update_and_standardize(0, only)
    torch.testing.assert_close(found.mean(dim=(0, 2, 3)), torch.zeros(3), rtol=0, atol=1e-5)
    torch.testing.assert_close(found.var(dim=(0, 2, 3), correction=0), torch.ones(3), rtol=1e-4, atol=0)


def test_a_level_keeps_the_proportions_of_its_channels() -> None:
    (only,) = maps_of(1, [(4, 6, 5)])
    found = MapStatistics([3], "level").update_and_standardize(0, only)
    variances_E, before_E = (each.var(dim=(0, 2, 3), correction=0) for each in (found, only))
    assert float(variances_E.mean()) == pytest.approx(1.0, rel=1e-4)
    torch.testing.assert_close(variances_E / variances_E[0], before_E / before_E[0], rtol=1e-4, atol=0)


@pytest.mark.parametrize("scale", SCALES)
def test_a_constant_map_becomes_0_and_never_nan(scale: Scale) -> None:
    constant = torch.full((2, 3, 2, 2), 1e4)
    assert not MapStatistics([3], scale).update_and_standardize(0, constant).any()
    assert not MapStatistics([3], scale).update_and_standardize(0, torch.zeros(2, 3, 1, 1)).any()


@pytest.mark.parametrize("scale", SCALES)
def test_a_nearly_constant_level_is_not_scaled_to_noise(scale: Scale) -> None:
    noise = 1000 + 1e-4 * torch.randn(8, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    assert float(MapStatistics([3], scale).update_and_standardize(0, noise).abs().max()) < 0.01


TERMS: tuple[str, ...] = ("local_knowledge", "mimic", "fgfi", "fgd", "cwd", "mgd")
FACTORS = (1e-2, 1.0, 1e3)


def test_a_changing_map_is_followed() -> None:
    statistics = MapStatistics([3], "channel", min_update_fraction=0.1)
    (early,), (late,) = maps_of(0, [(2, 8, 8)]), maps_of(1, [(2, 8, 8)])
    for each in [early] * 50 + [late] * 50:
        statistics.update(0, each)
    torch.testing.assert_close(statistics.means_C, late.mean(dim=(0, 2, 3)), rtol=0, atol=0.2)
    fixed = MapStatistics([3], "channel")
    for each in [early] * 50 + [late] * 50:
        fixed.update(0, each)
    halfway = (early.mean(dim=(0, 2, 3)) + late.mean(dim=(0, 2, 3))) / 2
    torch.testing.assert_close(fixed.means_C, halfway, rtol=1e-4, atol=1e-4)


def test_the_gradient_is_that_of_a_map_divided_by_its_deviation() -> None:
    (only,) = maps_of(2, [(2, 4, 4)])
    only.requires_grad_()
    (gradient,) = torch.autograd.grad(MapStatistics([3], "channel").update_and_standardize(0, only).sum(), only)
    expected_E = only.detach().var(dim=(0, 2, 3), correction=0).rsqrt()
    torch.testing.assert_close(gradient, expected_E[:, None, None].expand_as(only), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("term", "scale"), list(itertools.product(TERMS, SCALES)))
@pytest.mark.parametrize("whose", ["student", "teacher"])
def test_the_scale_of_levels_changes_nothing(make_taps: MakeTaps, term: str, scale: Scale, whose: str) -> None:
    """A coarse level a thousand times as large counts as before; without standardizing it is nearly the whole loss."""
    off = {name: {"weight": 0.0, "unit": "raw"} for name in ("global_knowledge", "local_knowledge", "soft_labels")}
    found: dict[str, list[dict[str, float]]] = {}
    for standardize in (scale, "none"):
        for factors in ((1.0, 1.0, 1.0), FACTORS):
            changes: dict[str, Any] = {**off, term: {"weight": 1.0, "unit": "raw"}, "standardize": standardize}
            objective = build({**changes, "filter": {"weight": "uniform"}}, num_epochs=2)
            objective.begin_epoch(1, never)
            student, teacher = make_taps(boxes_per_image=(5, 4))
            neck = (teacher.view if whose == "teacher" else student.view).neck
            for stride, factor in zip(sorted(neck), factors, strict=True):
                neck[stride] = factor * neck[stride]
            torch.manual_seed(0)
            found.setdefault(standardize, []).append(values_of(objective(student, teacher)))
    plain, scaled = found[scale]
    assert scaled == pytest.approx(plain, rel=1e-3)
    plain, scaled = found["none"]
    assert scaled != pytest.approx(plain, rel=0.1)


def test_statistics_are_restored_with_the_state(make_taps: MakeTaps) -> None:
    changes = {"standardize": "channel", "prototypes": {"source": {"kind": "feature_pass"}}}
    first, second = build(changes), build(changes)
    first.begin_epoch(1, source(make_taps))
    first(*make_taps(seed=3))
    second.load_state_dict(first.state_dict())
    losses = []
    for objective in (first, second):
        objective.begin_epoch(2, source(make_taps))
        losses.append(values_of(objective(*make_taps(seed=4))))
    assert losses[0] == losses[1]
    assert isinstance(first.statistics, PairStatistics)
    assert all(float(each.counts_L.min()) > 0 for each in (first.statistics.student, first.statistics.teacher))


def test_one_step_counts_each_level_once_however_many_terms_imitate_it(make_taps: MakeTaps) -> None:
    changes = {"standardize": "level", "mimic": {"weight": 1.0}, "cwd": {"weight": 1.0}}
    objective = build(changes)
    objective.begin_epoch(1, source(make_taps))
    student, teacher = make_taps()
    objective(student, teacher)
    cells = [student.neck[s].shape[0] * student.neck[s][0, 0].numel() for s in sorted(student.neck)]
    assert isinstance(objective.statistics, PairStatistics)
    assert objective.statistics.student.counts_L.tolist() == cells
    assert objective.statistics.teacher.counts_L.tolist() == cells
