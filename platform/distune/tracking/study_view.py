"""The view of a study in the MLflow UI: its columns, their order, and its charts. Pure functions.

MLflow keeps a saved view in a tag of the experiment, as the state of its page. The form is that of MLflow 3.17's own
saved views; a page that does not know it shows its defaults.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import zlib
from typing import Any

VIEW_TAG = "mlflow.sharedViewState."
"""Beginning of the tag; the key of the view follows."""
_MAX_TAG_LENGTH = 5000
"""Of a tag of an experiment, in the oldest servers."""
_PREFIX = "deflate;"
_SECTION = "distune"
_MAX_RUNS = 100
_OUTCOME = "tags.`distune.outcome`"


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyView:
    """The content of the view of a study.

    Attributes:
        metric: of the study, such as ``AP``.
        params: paths of the searched parameters, in the order of their columns.
        names: path to short name of all parameters of the search space; runs have both.
        costs: names of the metrics that are minimized, such as ``student/flops``.
    """

    metric: str
    params: tuple[str, ...]
    names: dict[str, str]
    costs: tuple[str, ...] = ()


def study_filter(study_key: str) -> str:
    """Return the search for the trials of a study, without its own run and without confirmations."""
    # The parent run has another kind or none, and the runs of a confirmation have another.
    return f"tags.`distune.study_key` = '{study_key}' AND tags.`distune.kind` = 'search'"


def view_tag(view: StudyView, *, study: str, study_key: str, at_ms: int) -> tuple[str, str]:
    """Return name and value of the tag that gives an experiment the view of a study.

    Args:
        view: its content. The last parameters are left out when the value would be too long.
        study: name of the study, shown in the menu of views.
        study_key: of the study; it is the key of the view.
        at_ms: time of the view, in milliseconds since 1970.

    Returns:
        The name, and a value of at most 5,000 characters.
    """
    shown = list(view.params)
    while True:
        state = _compress(_page_state(dataclasses.replace(view, params=tuple(shown)), study_key))
        value = json.dumps({"name": f"study {study}", "createdAt": at_ms, "updatedAt": at_ms, "state": state})
        if len(value) <= _MAX_TAG_LENGTH or not shown:
            return f"{VIEW_TAG}{study_key}", value
        shown = shown[: len(shown) * 3 // 4]


def may_replace(present: str | None, value: str) -> bool:
    """Return whether a view may be replaced: it differs, and it was not saved again in the UI.

    Args:
        present: value of the tag, None without one.
        value: the new one.

    Returns:
        False for a view that is the same, and for one that was changed in the UI.
    """
    try:
        old, new = json.loads(present or "{}"), json.loads(value)
        return bool(old.get("state") != new["state"] and old.get("createdAt") == old.get("updatedAt"))
    except (ValueError, AttributeError):
        return True


def read_state(value: str) -> dict[str, Any]:
    """Return the state of the page in the value of a tag. Raises ``ValueError`` or ``KeyError`` for another value."""
    text = json.loads(value)["state"].removeprefix(_PREFIX)
    state: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(text)))
    return state


def _compress(state: dict[str, Any]) -> str:
    packed = zlib.compress(json.dumps(state, separators=(",", ":")).encode(), 9)
    return f"{_PREFIX}{base64.b64encode(packed).decode()}"


def _page_state(view: StudyView, study_key: str) -> dict[str, Any]:
    """Return the state, as the page itself stores it."""
    best, gain = f"best/{view.metric}", f"gain/{view.metric}"
    params = [view.names.get(path, path) for path in view.params]
    columns = [f"metrics.`{name}`" for name in (best, gain, *view.costs)]
    return {
        "searchFilter": study_filter(study_key),
        "orderByKey": f"metrics.`{best}`",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": [*columns, *(f"params.`{name}`" for name in params), _OUTCOME],
        "columnOrder": [],
        "columnWidths": {},
        "runsHiddenMode": "SHOW_ALL",
        "viewMaximized": False,
        "runListHidden": False,
        "isAccordionReordered": True,
        "useGroupedValuesInCharts": True,
        "hideEmptyCharts": True,
        "groupBy": None,
        "compareRunSections": [
            {"uuid": _SECTION, "name": "Study", "display": True, "isReordered": True, "deleted": False}
        ],
        "compareRunCharts": _charts(view, params, best, gain),
    }


def _charts(view: StudyView, params: list[str], best: str, gain: str) -> list[dict[str, Any]]:
    charts = [
        _chart("LINE", f"search/{view.metric}", **_line(f"search/{view.metric}")),
        _chart("BAR", best, metricKey=best),
        _chart("BAR", gain, metricKey=gain),
    ]
    if params:
        parallel = {"selectedParams": params, "selectedMetrics": [best], "showAllRuns": True}
        charts.append(_chart("PARALLEL", f"parameters and {best}", **parallel))
    charts += [_chart("SCATTER", f"{best} against {cost}", xaxis=_axis(cost), yaxis=_axis(best)) for cost in view.costs]
    return charts


def _chart(kind: str, title: str, **settings: Any) -> dict[str, Any]:
    return {
        "uuid": f"{_SECTION}-{kind}-{title}",
        "type": kind,
        "runsCountToCompare": _MAX_RUNS,
        "metricSectionId": _SECTION,
        "deleted": False,
        "isGenerated": False,
        "displayName": title,
        **settings,
    }


def _axis(metric: str) -> dict[str, str]:
    return {"key": metric, "type": "METRIC"}


def _line(metric: str) -> dict[str, Any]:
    return {
        "metricKey": metric,
        "selectedMetricKeys": [metric],
        "lineSmoothness": 0,
        "xAxisScaleType": "linear",
        "scaleType": "linear",
        "range": {},
        "xAxisKey": "step",
        "selectedXAxisMetricKey": "",
        "yAxisKey": "metric",
        "yAxisExpressions": [],
        "ignoreOutliers": False,
        "useGlobalXaxisKey": True,
        "useGlobalLineSmoothing": True,
    }
