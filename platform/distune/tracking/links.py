"""Links to pages of the MLflow UI. Pure functions."""

from __future__ import annotations

import dataclasses
import json
import urllib.parse
from collections.abc import Sequence

from distune.tracking.study_view import study_filter

_MAX_COMPARED = 100


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyRuns:
    """The ids of a study in MLflow.

    Attributes:
        experiment_id: of the MLflow experiment.
        study_run_id: of the parent run; None when there is none.
        trial_run_ids: trial key to the id of its child run, in the order in which they started.
        has_view: whether the experiment has the view of the study; see ``distune.tracking.study_view``.
    """

    experiment_id: str
    study_run_id: str | None
    trial_run_ids: dict[str, str]
    has_view: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyLinks:
    """Links to the pages of one study. Its trials are those of the search with the controls, without confirmations.

    Attributes:
        runs: the table of trials.
        charts: the learning curves of all trials.
        compare: the trials side by side: parallel coordinates, scatter plots, params and metrics. None for more than
            100 trials, since the link names each run; the charts show them as well.
        study: the parent run with its artifacts, None when there is none.
    """

    runs: str
    charts: str
    compare: str | None
    study: str | None


def links_to(base_url: str, runs: StudyRuns, *, study_key: str, metric: str) -> StudyLinks:
    """Return the links to a study on the server at ``base_url``, trials sorted by ``metric``, the best first."""
    base = base_url.rstrip("/")
    experiment = f"{base}/#/experiments/{runs.experiment_id}"
    # Sorted by time, its default, MLflow hides the trials below their parent. It ignores a view beside a search.
    search = {"searchFilter": study_filter(study_key), "orderByKey": f"metrics.`{metric}`", "orderByAsc": "false"}
    query = {**({"viewStateShareKey": study_key} if runs.has_view else search), "workflowType": "machine_learning"}
    return StudyLinks(
        runs=f"{experiment}/runs?{_query({**query, 'compareRunsMode': 'TABLE'})}",
        charts=f"{experiment}/runs?{_query({**query, 'compareRunsMode': 'CHART'})}",
        compare=None
        if len(runs.trial_run_ids) > _MAX_COMPARED
        else compare_link(base, runs.experiment_id, list(runs.trial_run_ids.values())),
        study=None
        if runs.study_run_id is None
        else f"{experiment}/runs/{runs.study_run_id}?workflowType=machine_learning",
    )


def compare_link(base_url: str, experiment_id: str, run_ids: Sequence[str]) -> str:
    """Return the link to the comparison of runs."""
    compact = {"runs": list(run_ids), "experiments": [experiment_id]}
    fields = {name: json.dumps(values, separators=(",", ":")) for name, values in compact.items()}
    return f"{base_url.rstrip('/')}/#/compare-runs?{_query(fields)}&workflowType=machine_learning"


def _query(fields: dict[str, str]) -> str:
    return urllib.parse.urlencode(fields, quote_via=urllib.parse.quote)
