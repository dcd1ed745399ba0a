"""Padding takes no part: whatever it holds, no term that compares maps has another loss or gradient."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from distune.config.distillation import DistillationSettings
from distune.config.paths import merge
from distune.detectors.taps import Frame, StudentTaps, TeacherTaps
from distune.distillation.maps.alignment import align
from distune.distillation.maps.box_masks import covered_cells, weight_mask
from distune.distillation.maps.padding import has_padding, mean_over_cells, num_image_cells, valid_cells
from distune.distillation.objective import Objective
from support.objectives import build, source

MakeTaps = Callable[..., tuple[StudentTaps, TeacherTaps]]
SIZES = ((64, 96), (44, 60), (30, 96))
"""Images of a batch of 64 x 96: the second ends within a cell of every level, the third is padded below only."""
CPU = torch.device("cpu")

MAP_TERMS: dict[str, dict[str, Any]] = {
    "local_knowledge": {},
    "mimic": {},
    "fgfi": {},
    "cwd": {},
    "pkd": {},
    "fgd": {},
    "mgd": {},
    "global_knowledge": {"at": "cells", "form": "divergence", "background_weight": 0.3},
}
"""All terms that compare maps cell by cell, with the settings by which they do."""
VARIANTS: dict[str, dict[str, Any]] = {
    "as they are": {"standardize": "none"},
    "standardized": {"standardize": "level"},
    "channels, 3x3": {"standardize": "channel", "adapter": "conv3x3"},
    "centered on maps": {"standardize": "none", "center": "maps"},
}


def test_all_map_terms_are_in_the_list() -> None:
    pooled = {"rkd"}
    heads = {name for name, term in DistillationSettings().terms.items() if term.compares_heads}
    assert MAP_TERMS.keys() == DistillationSettings().terms.keys() - heads - pooled


@given(image_px=st.integers(1, 300), stride=st.sampled_from((4, 8, 32, 128)), num_cells=st.integers(1, 40))
def test_an_image_has_the_cells_whose_centers_lie_in_it_and_at_least_one(
    image_px: int, stride: int, num_cells: int
) -> None:
    inside = sum((cell + 0.5) * stride < image_px for cell in range(num_cells))
    assert num_image_cells(image_px, stride=stride, num_cells=num_cells) == max(1, inside)


def test_valid_cells_are_those_of_each_image() -> None:
    valid_BHW = valid_cells(Frame((64, 96), SIZES), stride=16, size=(4, 6), device=CPU)
    assert valid_BHW is not None
    assert valid_BHW.sum(dim=(1, 2)).tolist() == [24, 3 * 4, 2 * 6]
    assert valid_BHW[1, :3, :4].all()


def test_without_padding_nothing_is_masked() -> None:
    frame = Frame((64, 96), ((64, 96), (64, 96)))
    assert not has_padding(frame, stride=32, size=(2, 3))
    assert valid_cells(frame, stride=32, size=(2, 3), device=CPU) is None
    # A coarse map may be larger than the batch: its last column is no cell of an image.
    assert has_padding(frame, stride=64, size=(1, 2))


def test_the_mean_is_over_valid_cells() -> None:
    values_BHW = torch.tensor([[[1.0, 2.0], [3.0, torch.nan]]])
    assert float(mean_over_cells(values_BHW, values_BHW.isfinite())) == 2
    assert float(mean_over_cells(values_BHW[:, :1], None)) == 1.5


def padded(taps: tuple[StudentTaps, TeacherTaps]) -> tuple[StudentTaps, TeacherTaps]:
    """The batch with images of different sizes. Boxes that leave their image end at its edge."""
    student, teacher = taps
    frame = Frame(student.instances.frame.padded_size, SIZES[: len(student.instances.counts)])
    limits_B2 = torch.tensor([[width, height] for height, width in frame.image_sizes], dtype=torch.float32)
    limits_N4 = limits_B2.repeat(1, 2)[student.instances.image_of_N]
    # The smallest box has a side of 3 pixels, at the edge.
    low_N2 = torch.minimum(student.instances.boxes_N4[:, :2], limits_N4[:, :2] - 3)
    high_N2 = torch.minimum(torch.maximum(student.instances.boxes_N4[:, 2:], low_N2 + 3), limits_N4[:, 2:])
    instances = dataclasses.replace(student.instances, frame=frame, boxes_N4=torch.cat([low_N2, high_N2], dim=1))
    view = dataclasses.replace(teacher.view, frame=frame)
    return dataclasses.replace(student, instances=instances), dataclasses.replace(teacher, view=view)


def with_padding_of(taps: tuple[StudentTaps, TeacherTaps], value: float) -> tuple[StudentTaps, TeacherTaps]:
    """The same batch with other values in the padding of all maps; boxes are pooled from them too."""
    student, teacher = taps
    frame = student.instances.frame

    def fill(neck: dict[int, Tensor]) -> dict[int, Tensor]:
        filled = {}
        for stride, map_BDHW in neck.items():
            valid_BHW = valid_cells(frame, stride=stride, size=(map_BDHW.shape[2], map_BDHW.shape[3]), device=CPU)
            assert valid_BHW is not None
            filled[stride] = torch.where(valid_BHW[:, None], map_BDHW.detach(), value)
            filled[stride].requires_grad_(map_BDHW.requires_grad)
        return filled

    view = dataclasses.replace(teacher.view, neck=fill(teacher.neck))
    return dataclasses.replace(student, neck=fill(student.neck)), dataclasses.replace(teacher, view=view)


def objective_of(term: str, variant: str) -> Objective:
    off = {name: {"weight": 0.0, "unit": "raw"} for name in DistillationSettings().terms}
    changes = {name: value for name, value in VARIANTS[variant].items() if name != "adapter"}
    settings: dict[str, Any] = {"weight": 1.0, "unit": "raw", **MAP_TERMS[term]}
    if "adapter" in VARIANTS[variant] and hasattr(getattr(DistillationSettings(), term), "adapter"):
        settings["adapter"] = VARIANTS[variant]["adapter"]
    return build(merge(off, {**changes, "filter": {"weight": "uniform"}, term: settings}), num_epochs=3)


def play(objective: Objective, make_taps: MakeTaps, value: float, *, alike: float) -> tuple[float, dict[int, Tensor]]:
    """The loss of a step and its gradient on the student's maps, after an epoch in which the padding held ``alike``.

    Prototypes are made of pooled boxes, which bilinear samples at an edge may read from padding. So padding is alike
    where they are made, and differs where maps are compared.
    """
    objective.begin_epoch(1, source(make_taps))
    objective(*with_padding_of(padded(make_taps(seed=1, boxes_per_image=(7, 6, 5))), alike))
    objective.end_epoch()
    objective.begin_epoch(2, source(make_taps))
    student, teacher = with_padding_of(padded(make_taps(seed=2, boxes_per_image=(4, 3, 3))), value)
    torch.manual_seed(0)
    (loss,) = objective(student, teacher).values()
    torch.autograd.backward(loss)
    gradients = {stride: each.grad for stride, each in student.neck.items() if each.grad is not None}
    assert gradients
    return float(loss.detach()), gradients


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("term", MAP_TERMS)
def test_values_in_padding_change_nothing(make_taps: MakeTaps, term: str, variant: str) -> None:
    losses, gradients = zip(
        *(play(objective_of(term, variant), make_taps, value, alike=0.0) for value in (0.0, 50.0)), strict=True
    )
    assert losses[0] > 0
    assert losses[0] == losses[1]
    for stride, gradient_BDHW in gradients[0].items():
        assert torch.equal(gradient_BDHW, gradients[1][stride])
        size = (gradient_BDHW.shape[2], gradient_BDHW.shape[3])
        valid_BHW = valid_cells(Frame((64, 96), SIZES), stride=stride, size=size, device=CPU)
        assert valid_BHW is not None
        assert not gradient_BDHW.abs().sum(dim=1)[~valid_BHW].any()
    assert any(gradient_BDHW.any() for gradient_BDHW in gradients[0].values())


@pytest.mark.parametrize("term", [term for term in MAP_TERMS if term != "global_knowledge"])
def test_padding_of_earlier_batches_changes_no_statistics(make_taps: MakeTaps, term: str) -> None:
    found = [play(objective_of(term, "standardized"), make_taps, 0.0, alike=alike) for alike in (0.0, 50.0)]
    assert found[0][0] == found[1][0]
    assert all(torch.equal(each, found[1][1][stride]) for stride, each in found[0][1].items())


def test_a_box_covers_a_cell_of_its_image(make_taps: MakeTaps) -> None:
    """Also where the cell that contains the box's center has its own center in padding."""
    student, _ = padded(make_taps(boxes_per_image=(0, 1, 1)))
    boxes_N4 = torch.tensor([[57.0, 41.0, 60.0, 44.0], [0.0, 24.0, 96.0, 30.0]])
    instances = dataclasses.replace(student.instances, boxes_N4=boxes_N4)
    rows_NH, columns_NW = covered_cells(instances, stride=8, size=(8, 12))
    assert rows_NH.int().argmax(dim=1).tolist() == [4, 3]
    assert rows_NH.sum(dim=1).tolist() == [1, 1]
    assert columns_NW.sum(dim=1).tolist() == [1, 12]
    mask_BHW = weight_mask(torch.ones(2), instances, stride=8, size=(8, 12))
    valid_BHW = valid_cells(instances.frame, stride=8, size=(8, 12), device=CPU)
    assert valid_BHW is not None
    assert (mask_BHW[~valid_BHW] == -1).all()
    assert (mask_BHW > 0).sum(dim=(1, 2)).tolist() == [0, 1, 12]


def test_the_teachers_padding_does_not_reach_the_students_cells() -> None:
    """In another frame the last cells of an image lie between its teacher's last cell and padding."""
    theirs, ours = Frame((128, 192), ((100, 130),)), Frame((64, 96), ((50, 65),))
    teacher_BEHW = torch.randn(1, 2, 16, 24)
    valid_BHW = valid_cells(theirs, stride=8, size=(16, 24), device=CPU)
    assert valid_BHW is not None
    first, second = (
        align(torch.where(valid_BHW[:, None], teacher_BEHW, value), theirs, ours, stride=8, size=(8, 12))
        for value in (0.0, 100.0)
    )
    torch.testing.assert_close(first, second, rtol=0, atol=1e-3)  # positions are rounded
