"""The view of a study in the MLflow UI: its form, its length, and what it may replace."""

from __future__ import annotations

import json
from typing import Any

import pytest

from distune.tracking.study_view import StudyView, may_replace, read_state, view_tag

PATHS = ("distillation.local_knowledge.weight", "distillation.decay")
VIEW = StudyView(metric="AP", params=PATHS, names=dict(zip(PATHS, ("local", "decay"), strict=True)))


def make(view: StudyView = VIEW, **changes: Any) -> tuple[str, str]:
    return view_tag(view, **{"study": "cells", "study_key": "cells-1", "at_ms": 7, **changes})


def test_a_view_is_the_state_of_the_page_under_the_key_of_the_study() -> None:
    name, value = make()
    assert name == "mlflow.sharedViewState.cells-1"
    assert {key: json.loads(value)[key] for key in ("name", "createdAt", "updatedAt")} == {
        "name": "study cells",
        "createdAt": 7,
        "updatedAt": 7,
    }
    state = read_state(value)
    assert state["searchFilter"] == "tags.`distune.study_key` = 'cells-1' AND tags.`distune.kind` = 'search'"
    assert (state["orderByKey"], state["orderByAsc"], state["runsHiddenMode"]) == (
        "metrics.`best/AP`",
        False,
        "SHOW_ALL",
    )
    assert state["selectedColumns"] == [
        "metrics.`best/AP`",
        "metrics.`gain/AP`",
        "params.`local`",
        "params.`decay`",
        "tags.`distune.outcome`",
    ]
    assert [chart["type"] for chart in state["compareRunCharts"]] == ["LINE", "BAR", "BAR", "PARALLEL"]
    sections = {section["uuid"] for section in state["compareRunSections"]}
    assert {chart["metricSectionId"] for chart in state["compareRunCharts"]} == sections


def test_costs_are_columns_and_get_a_scatter_plot_each() -> None:
    state = read_state(make(StudyView(metric="AP", params=(), names={}, costs=("student/flops",)))[1])
    assert "metrics.`student/flops`" in state["selectedColumns"]
    assert [chart["type"] for chart in state["compareRunCharts"]] == ["LINE", "BAR", "BAR", "SCATTER"]


def test_a_large_space_fits_into_the_tag() -> None:
    """Random names are the worst case: they cannot be compressed."""
    import hashlib

    names = {f"path.{number}": hashlib.sha256(str(number).encode()).hexdigest() for number in range(400)}
    _, value = make(StudyView(metric="AP", params=tuple(names), names=names))
    assert len(value) <= 5000
    assert "params.`" in str(read_state(value)["selectedColumns"])


def test_a_view_is_replaced_only_by_another_one_and_never_after_a_change_in_the_ui() -> None:
    _, value = make()
    _, later = make(at_ms=9)
    _, other = make(StudyView(metric="AP50", params=(), names={}))
    assert may_replace(None, value)
    assert not may_replace(value, later)
    assert may_replace(value, other)
    saved_in_ui = json.dumps({**json.loads(value), "updatedAt": 8})
    assert not may_replace(saved_in_ui, other)
    assert may_replace("no JSON", value)


@pytest.mark.parametrize("present", ["[]", "1", "null"])
def test_a_tag_of_another_form_is_replaced(present: str) -> None:
    assert may_replace(present, make()[1])
