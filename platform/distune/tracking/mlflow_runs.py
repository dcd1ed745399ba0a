"""The MLflow runs of one study: finds or creates them, and writes to them in as few calls as possible."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from distune.records import ParameterValue
from distune.tracking.mlflow_client import NO_MLFLOW, REPLACED, is_replaced, search_headlines, search_runs
from distune.tracking.note import NOTE_TAG, experiment_note, mark_note, may_replace_note
from distune.tracking.run_names import is_control, run_name, with_short_names
from distune.tracking.sink import SinkUnavailableError
from distune.tracking.study_view import StudyView, may_replace, view_tag
from distune.tracking.timeouts import uploading
from distune.tracking.values import metric_values, name_text, param_values, tag_values

if TYPE_CHECKING:
    from mlflow import MlflowClient

_LOG = logging.getLogger(__name__)

_MAX_VALUES_PER_CALL = 1000
_MAX_PARAMS_AND_TAGS_PER_CALL = 100
_COLOR_TAG, _CONTROL_COLOR, _STUDY_COLOR = "mlflow.runColor", "#e6007e", "#7f7f7f"
"""Colors of charts; those of the UI are others."""
_IDENTITY_TAGS = {"study", "study_key", "trial", "trial_key"}
"""Runs are found by these tags. They are set when a run is created and never changed."""
_REPLACED_AT = "distune.replaced_at"
"""Tag of a replaced run and of the run that replaced it: the time in milliseconds."""


@dataclasses.dataclass
class KnownRun:
    """A run and what was last read from it or written to it. ``metrics`` are those that were read."""

    id: str
    status: str
    param_names: set[str]
    name: str
    started_at_ms: int
    metrics: dict[str, float] = dataclasses.field(default_factory=dict)
    note: str | None = None


class MlflowRuns:
    """The runs of one study. They are created once, and found again by ``distune.study_key`` and ``distune.trial_key``.

    An empty key stands for the study's own run, the parent of the others.

    Args:
        client: of the store.
        study: name of the study, and of the parent run.
        study_key: identifies this study among all others, also those of the same name.
        experiment: name of the MLflow experiment; created when it is missing.
        artifact_location: where a new experiment keeps its artifacts; None leaves it to the server.
        simulated: whether learning curves are simulated; every run has a tag that says so.
    """

    def __init__(
        self,
        client: MlflowClient,
        *,
        study: str,
        study_key: str,
        experiment: str,
        artifact_location: str | None,
        simulated: bool = False,
    ) -> None:
        self._client = client
        self._study = study
        self._study_key = study_key
        self._simulated = simulated
        self._experiment = experiment
        self._artifact_location = artifact_location
        self._experiment_id: str | None = None
        self._runs: dict[str, KnownRun] | None = None
        self._replaced_at: dict[str, int] = {}

    def reset(self) -> None:
        """Read everything from MLflow again at the next call: a run or the experiment may have been deleted."""
        self._experiment_id = self._runs = None

    @property
    def has_any(self) -> bool:
        """True when the store has a run of the study. Raises an error of MLflow."""
        return bool(self._known_runs())

    def start(
        self,
        key: str,
        at_ms: int,
        params: Mapping[str, ParameterValue],
        tags: Mapping[str, str],
        names: Mapping[str, str] | None = None,
    ) -> None:
        """Start or resume a run, and add the params that it lacks, also under their short ``names``."""
        is_new = key not in self._known_runs()
        tags = {name: text for name, text in tags.items() if name not in _IDENTITY_TAGS}
        run = self.get(key, at_ms, tags, params, names)
        self.log(run, tags={} if is_new else tags)
        self.add_params(run, with_short_names(params, names or {}))
        self.set_status(run, "RUNNING", at_ms)

    def replace(self, key: str, at_ms: int) -> None:
        """Set the run of a trial aside, if there is one of before: what follows goes to a new run.

        It is kept under another kind and name. To delete it would take a permission that writing does not take.
        """
        run = self._known_runs().get(key)
        if run is None or run.started_at_ms >= at_ms or self.is_of_replaced(key, at_ms):
            return
        if run.status == "RUNNING":
            self.set_status(run, "KILLED", at_ms)
        ending = f" ({REPLACED})"
        self._client.update_run(run.id, name=run.name.removesuffix(ending) + ending)
        self.log(run, tags={"kind": REPLACED, _REPLACED_AT: str(at_ms)})
        del self._known_runs()[key]
        self._replaced_at[key] = at_ms

    def is_of_replaced(self, key: str, at_ms: int) -> bool:
        """Return whether an event of a trial at this time belongs to a run that was replaced."""
        self._known_runs()
        return key in self._replaced_at and at_ms < self._replaced_at[key]

    def add_params(self, run: KnownRun, params: Mapping[str, ParameterValue]) -> None:
        """Add the params that a run lacks: MLflow refuses to change one."""
        missing = {name: text for name, text in param_values(params).items() if name not in run.param_names}
        self.log(run, params=missing)
        run.param_names.update(missing)

    def update(self, key: str, at_ms: int, step: int, metrics: Mapping[str, float]) -> None:
        """Log metrics of a run that differ from those that it has."""
        run = self.get(key, at_ms)
        changed = {name: value for name, value in metric_values(metrics).items() if run.metrics.get(name) != value}
        self.log(run, [(at_ms, step, changed)])
        run.metrics.update(changed)

    def set_note(self, run: KnownRun, note: str) -> None:
        """Replace the note of a run, unless a user has edited it."""
        if may_replace_note(run.note):
            run.note = mark_note(note)
            self._client.set_tag(run.id, NOTE_TAG, run.note)

    def set_view(self, view: StudyView, at_ms: int) -> None:
        """Give the experiment the view of the study, unless it was changed in the UI."""
        name, value = view_tag(view, study=self._study, study_key=self._study_key, at_ms=at_ms)
        experiment = self._find_experiment()
        if may_replace(self._client.get_experiment(experiment).tags.get(name), value):
            self._client.set_experiment_tag(experiment, name, value)

    def set_experiment_note(self) -> None:
        """Replace the note of the experiment by a line per study, from their runs, unless a user has edited it."""
        experiment = self._find_experiment()
        if may_replace_note(self._client.get_experiment(experiment).tags.get(NOTE_TAG)):
            note = mark_note(experiment_note(search_headlines(self._client, experiment)))
            self._client.set_experiment_tag(experiment, NOTE_TAG, note)

    def get(
        self,
        key: str,
        at_ms: int,
        tags: Mapping[str, str] | None = None,
        params: Mapping[str, ParameterValue] | None = None,
        names: Mapping[str, str] | None = None,
    ) -> KnownRun:
        """Return the run of a trial or of the study; create it when there is none."""
        runs = self._known_runs()
        if key not in runs:
            identity = {"study": self._study, "study_key": self._study_key, "mlflow.source.name": "distune"}
            identity |= {"simulated": "true"} if self._simulated else {}
            identity |= {_COLOR_TAG: color} if (color := _color(key)) else {}
            identity |= {_REPLACED_AT: str(self._replaced_at[key])} if key in self._replaced_at else {}
            if key:
                parent = self.get("", at_ms)
                identity |= {"trial": key, "trial_key": self._trial_key(key), "mlflow.parentRunId": parent.id}
            created = self._client.create_run(
                self._find_experiment(),
                start_time=at_ms,
                tags=tag_values({**(tags or {}), **identity}),
                run_name=run_name(key, params, names) if key else self._study,
            )
            if not created.info.run_id:
                raise SinkUnavailableError(NO_MLFLOW)
            info = created.info
            runs[key] = KnownRun(info.run_id, info.status, set(), info.run_name or key, at_ms)
        return runs[key]

    def log(
        self,
        run: KnownRun,
        points: Sequence[tuple[int, int, Mapping[str, float]]] = (),
        *,
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Log any number of values in as few calls as MLflow allows; no call when there is nothing to log.

        Args:
            run: to write to.
            points: each a time in milliseconds, a step, and metrics.
            params: by the names that MLflow accepts.
            tags: with or without the prefix ``distune.``.
        """
        from mlflow.entities import Metric, Param, RunTag

        params_left = [Param(name, text) for name, text in (params or {}).items()]
        tags_left = [RunTag(name, text) for name, text in tag_values(tags or {}).items()]
        metrics_left = [
            Metric(name, value, at_ms, step)
            for at_ms, step, metrics in points
            for name, value in metric_values(metrics).items()
        ]
        while metrics_left or params_left or tags_left:
            params_now = params_left[:_MAX_PARAMS_AND_TAGS_PER_CALL]
            tags_now = tags_left[:_MAX_PARAMS_AND_TAGS_PER_CALL]
            metrics_now = metrics_left[: _MAX_VALUES_PER_CALL - len(params_now) - len(tags_now)]
            self._client.log_batch(run.id, metrics=metrics_now, params=params_now, tags=tags_now)
            del params_left[: len(params_now)], tags_left[: len(tags_now)], metrics_left[: len(metrics_now)]

    def set_status(self, run: KnownRun, status: str, at_ms: int) -> None:
        """Set a status of MLflow. Any but ``RUNNING`` and ``SCHEDULED`` ends the run."""
        if status not in ("RUNNING", "SCHEDULED"):
            self._client.set_terminated(run.id, status=status, end_time=at_ms)
        elif run.status != status:
            self._client.update_run(run.id, status=status)
        run.status = status

    def log_file(self, key: str, at_ms: int, path: Path, folder: str) -> None:
        """Copy a file or a folder to the artifacts of a run; a missing one is skipped with a warning."""
        if not path.exists():
            _LOG.warning("%s is missing and is not logged to MLflow", path)
            return
        log = self._client.log_artifacts if path.is_dir() else self._client.log_artifact
        run = self.get(key, at_ms)
        with uploading():
            log(run.id, str(path), name_text(folder) if folder else None)

    def _known_runs(self) -> dict[str, KnownRun]:
        """Return all runs of the study by trial key, read from MLflow once."""
        if self._runs is None:
            prefix = self._trial_key("")
            self._runs, self._replaced_at = {}, {}
            for run in search_runs(self._client, self._find_experiment(), self._study_key):
                key = run.data.tags.get("distune.trial_key", prefix).removeprefix(prefix)
                if (replaced_at := run.data.tags.get(_REPLACED_AT, "")).isdecimal():
                    self._replaced_at[key] = max(int(replaced_at), self._replaced_at.get(key, 0))
                if is_replaced(run):
                    continue
                known = KnownRun(
                    run.info.run_id,
                    run.info.status,
                    set(run.data.params),
                    run.info.run_name or key,
                    run.info.start_time,
                    dict(run.data.metrics),
                    run.data.tags.get(NOTE_TAG),
                )
                self._runs.setdefault(key, known)
        return self._runs

    def _trial_key(self, key: str) -> str:
        return f"{self._study_key}/{key}"

    def _find_experiment(self) -> str:
        if self._experiment_id is None:
            found = self._client.get_experiment_by_name(self._experiment)
            if found is None:
                self._experiment_id = self._client.create_experiment(
                    self._experiment, artifact_location=self._artifact_location
                )
            else:
                if found.lifecycle_stage == "deleted":
                    _LOG.warning("the MLflow experiment %s was deleted and is restored", self._experiment)
                    self._client.restore_experiment(found.experiment_id)
                self._experiment_id = found.experiment_id
            if not self._experiment_id:
                self._experiment_id = None
                raise SinkUnavailableError(NO_MLFLOW)
        return self._experiment_id


def _color(key: str) -> str | None:
    """Return the color of a run that must be recognized; None for any other, which gets one from the UI."""
    return _CONTROL_COLOR if is_control(key) else None if key else _STUDY_COLOR
