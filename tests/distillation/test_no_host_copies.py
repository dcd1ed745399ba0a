"""A training step waits for no device: nothing in it needs a value, or a shape that depends on one, on the host."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from distune.config.distillation import DistillationSettings
from distune.config.paths import merge
from distune.detectors.taps import Frame, Instances, StudentTaps, TeacherTaps, View
from distune.distillation.build import build_objective
from distune.distillation.terms import TERMS

MakeTaps = Callable[..., tuple[StudentTaps, TeacherTaps]]

_REFUSED = {"_local_scalar_dense", "nonzero", "nonzero_static", "masked_select", "unique", "_unique2", "is_nonzero"}


class HostCopyError(Exception):
    """An operation that would wait for the device."""


class Guard(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Raises on operations whose result, or its shape, must be known on the host."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in _REFUSED:
            raise HostCopyError(name)
        if name in {"index", "index_put", "index_put_", "_index_put_impl_"}:
            for index in args[1]:
                if index is not None and index.dtype in (torch.bool, torch.uint8):
                    raise HostCopyError(f"{name} with a mask")
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def refusing_host_copies() -> Iterator[None]:
    """Raises ``HostCopyError`` on what would wait for a device. Reading memory directly passes by the dispatcher."""
    with contextlib.ExitStack() as stack:
        for name in ("tolist", "numpy", "cpu"):
            stack.enter_context(mock.patch.object(torch.Tensor, name, side_effect=HostCopyError(name)))
        stack.enter_context(Guard())  # type: ignore[no-untyped-call]
        yield


@pytest.mark.parametrize(
    "wait",
    [
        lambda values: values.sum().item(),
        lambda values: values.tolist(),
        lambda values: values[values > 0],
        lambda values: torch.where(values > 0),
        lambda values: bool(values.sum() > 0),
        lambda values: values.masked_select(values > 0),
        lambda values: values.__setitem__(values > 0, values[:1]),
        lambda values: values.unique(),
    ],
)
def test_the_guard_sees_host_copies(wait: Callable[[torch.Tensor], Any]) -> None:
    values = torch.randn(5)
    with refusing_host_copies(), pytest.raises(HostCopyError):
        wait(values)


@pytest.mark.parametrize(("pooling", "kind"), [("roi_align", "queue"), ("crop", "feature_pass")])
@pytest.mark.parametrize(
    ("discrepancy", "weight", "representation", "classes", "score_kind"),
    [
        ("mean_cosine", "gaussian", "cosine", "all", "sigmoid"),
        ("max_cosine", "linear", "coefficient", "own", "softmax"),
        ("coefficient", "quantile", "cosine", "own", "sigmoid"),
        ("mean_cosine", "threshold", "coefficient", "all", "softmax"),
        ("mean_cosine", "uniform", "cosine", "all", "sigmoid"),
    ],
)
def test_a_step_and_its_backward_pass_wait_for_no_device(
    make_taps: MakeTaps,
    pooling: str,
    kind: str,
    discrepancy: str,
    weight: str,
    representation: str,
    classes: str,
    score_kind: str,
) -> None:
    settings = DistillationSettings.model_validate(
        {
            "preset": "gkd_global",
            "pooling": pooling,
            "prototypes": {"source": {"kind": kind}, "min_box_side_px": 8.0},
            "filter": {"discrepancy": discrepancy, "weight": weight},
            "global_knowledge": {"representation": representation, "classes": classes},
        }
    )
    assert len(play(settings, make_taps, score_kind=score_kind)) == 3


CHANGES: list[dict[str, Any]] = [
    {},
    {"mimic": {"regions": "boxes"}, "localization": {"form": "bounded", "margin": 0.1}},
    {"mimic": {"regions": "boxes"}, "localization": {"form": "smooth_l1"}, "pooling": "crop"},
    {"soft_labels": {"sites": "all"}, "localization": {"sites": "all", "site_weight": "score"}},
    {"global_knowledge": {"form": "divergence", "space": "teacher", "levels": "own"}},
    {"global_knowledge": {"at": "cells", "form": "divergence", "space": "teacher", "background_weight": 0.1}},
    {"center": "maps", "min_box_cells": 1.5, "prototypes": {"refresh_epochs": 0}},
    {"center": "instances", "standardize": "channel", "global_knowledge": {"at": "cells"}},
]
UNITS_AND_SCORES = [(unit, score) for score in ("sigmoid", "softmax") for unit in ("gradient_share", "raw")]


def some_cases() -> Iterator[Any]:
    """All combinations; one of each four, in turn, is no torture."""
    for number, changes in enumerate(CHANGES):
        for other, (unit, score_kind) in enumerate(UNITS_AND_SCORES):
            marks = () if other == number % len(UNITS_AND_SCORES) else (pytest.mark.torture,)
            yield pytest.param(unit, score_kind, changes, marks=marks)


@pytest.mark.parametrize(("unit", "score_kind", "changes"), list(some_cases()))
def test_no_term_waits_for_a_device(make_taps: MakeTaps, unit: str, score_kind: str, changes: dict[str, Any]) -> None:
    values: dict[str, Any] = {name: {"weight": 1.0, "unit": unit} for name in TERMS}
    settings = DistillationSettings.model_validate(merge(values, changes))
    assert play(settings, make_taps, score_kind=score_kind).keys() == TERMS.keys()


def with_padding(student: StudentTaps, teacher: TeacherTaps) -> tuple[StudentTaps, TeacherTaps]:
    """The same batch, in which the second image is smaller than the first; the teacher's is larger."""
    frame, of_teacher = Frame((64, 96), ((64, 96), (40, 70))), Frame((64, 96), ((64, 96), (50, 80)))
    instances = dataclasses.replace(student.instances, frame=frame)
    view = dataclasses.replace(teacher.view, frame=of_teacher)
    return dataclasses.replace(student, instances=instances), dataclasses.replace(teacher, view=view)


def play(settings: DistillationSettings, make_taps: MakeTaps, *, score_kind: str) -> dict[str, torch.Tensor]:
    """The losses of the last of a few steps and their backward passes, none of which waited for a device."""
    objective = build_objective(
        settings,
        num_classes=3,
        strides=(8, 16, 32),
        student_channels=(6, 6, 6),
        teacher_channels=(8, 8, 8),
        score_kind=score_kind,
        base_size_px=56.0,
        num_epochs=4,
        seed=0,
    )

    def feature_pass(_: int) -> Iterator[tuple[View, View, Instances]]:
        student, teacher = make_taps(boxes_per_image=(9, 9))
        yield student.view, teacher.view, student.instances

    losses: dict[str, torch.Tensor] = {}
    for epoch in (1, 2):
        objective.begin_epoch(epoch, feature_pass)
        for counts in ((4, 3), (0, 2), (0, 0)):
            student, teacher = make_taps(boxes_per_image=counts, score_kind=score_kind)
            if epoch == 2:
                student, teacher = with_padding(student, teacher)
            with refusing_host_copies():
                losses = objective(student, teacher)
                torch.autograd.backward(torch.stack(list(losses.values())).sum())
        objective.end_epoch()
    return losses
