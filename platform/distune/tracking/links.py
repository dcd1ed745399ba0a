"""Addresses of pages in the MLflow UI. Pure functions."""

from __future__ import annotations

import dataclasses
import json
import urllib.parse
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyRuns:
    """Where a study lies in MLflow.

    Attributes:
        experiment_id: of the MLflow experiment.
        study_run_id: of the parent run; None when only trials are there.
        trial_run_ids: trial key to the id of its child run, in the order in which they started.
    """

    experiment_id: str
    study_run_id: str | None
    trial_run_ids: dict[str, str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyLinks:
    """Pages of one study. Trials are those of the search and its controls, not those of a confirmation.

    Attributes:
        runs: the table of its trials.
        charts: the learning curves of all its trials in one picture.
        compare: its trials side by side: parallel coordinates, scatter plots, params and metrics.
        study: the parent run with its artifacts, None when it is not there.
    """

    runs: str
    charts: str
    compare: str
    study: str | None


def links_to(base_url: str, runs: StudyRuns, *, study_key: str, metric: str) -> StudyLinks:
    """The pages of a study on the server at ``base_url``, the best trial by ``metric`` first."""
    base = base_url.rstrip("/")
    experiment = f"{base}/#/experiments/{runs.experiment_id}"
    of_the_study = {
        # The study's own run has no kind, and the runs that confirm its best trials have another.
        "searchFilter": f"tags.`distune.study_key` = '{study_key}' AND tags.`distune.kind` = 'search'",
        # Sorted by time, which is its default, MLflow folds the trials away under their parent.
        "orderByKey": f"metrics.`{metric}`",
        "orderByAsc": "false",
    }
    return StudyLinks(
        runs=f"{experiment}/runs?{_query({**of_the_study, 'compareRunsMode': 'TABLE'})}",
        charts=f"{experiment}/runs?{_query({**of_the_study, 'compareRunsMode': 'CHART'})}",
        compare=compare_link(base, runs.experiment_id, list(runs.trial_run_ids.values())),
        study=None if runs.study_run_id is None else f"{experiment}/runs/{runs.study_run_id}",
    )


def compare_link(base_url: str, experiment_id: str, run_ids: Sequence[str]) -> str:
    """The page that compares these runs."""
    compact = {"runs": list(run_ids), "experiments": [experiment_id]}
    fields = {name: json.dumps(values, separators=(",", ":")) for name, values in compact.items()}
    return f"{base_url.rstrip('/')}/#/compare-runs?{_query(fields)}"


def _query(fields: dict[str, str]) -> str:
    return urllib.parse.urlencode(fields, quote_via=urllib.parse.quote)
