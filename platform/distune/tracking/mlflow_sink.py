"""Events become MLflow runs: a parent for the study, a nested child per trial. The only file that imports MLflow."""

from __future__ import annotations

import dataclasses
import errno
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from distune.errors import DISK_ERRNOS, UsageError
from distune.records import Outcome, ParameterValue
from distune.tracking.environment import prepare_client
from distune.tracking.events import (
    EpochLogged,
    Event,
    FileLogged,
    StudyEnded,
    StudyLogged,
    StudyStarted,
    TrialEnded,
    TrialStarted,
)
from distune.tracking.links import StudyRuns
from distune.tracking.names import run_name
from distune.tracking.sink import EventRefusedError, SinkUnavailableError
from distune.tracking.uris import is_database, redact_uri
from distune.tracking.values import (
    end_tags,
    metric_values,
    name_text,
    param_values,
    run_status,
    start_tags,
    summary_metrics,
    tag_values,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

_LOG = logging.getLogger(__name__)

_MAX_METRICS_PER_CALL = 1000
_MAX_PARAMS_AND_TAGS_PER_CALL = 100
_RUNS_PER_PAGE = 1000

_REFUSALS = {"INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS"}
_TRANSIENT = {
    "TEMPORARILY_UNAVAILABLE",
    "REQUEST_LIMIT_EXCEEDED",
    "RESOURCE_EXHAUSTED",
    "DEADLINE_EXCEEDED",
    "CUSTOMER_UNAUTHORIZED",
    "UNAUTHENTICATED",
    "PERMISSION_DENIED",
}
_STORAGE_ERRNOS = DISK_ERRNOS | {errno.EACCES, errno.EPERM}
_IDENTITY = {"study", "study_key", "trial", "trial_key"}
"""Tags that a run is found by. They are set when it is created, and nobody else sets them."""
_STUDY_STATUS = {"finished": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}


@dataclasses.dataclass
class _Run:
    """What we know of a run without asking."""

    id: str
    status: str
    param_names: set[str]


class MlflowSink:
    """Keeps one study in MLflow, through a client of its own: neither fluent runs nor the global URI are touched.

    Runs are created once and found again by their tags ``distune.study_key`` and ``distune.trial_key``. Points with
    equal key, step, value and time are stored once by MLflow itself, so sending again is harmless.

    Args:
        uri: any tracking URI that ``check_uri`` lets through.
        study: name of the study, and of the parent run.
        study_key: tells this study from all others, also from an earlier one of the same name.
        experiment: name of the MLflow experiment; made when it is missing.
        artifact_location: where a new experiment keeps its artifacts; None leaves it to the server.

    Raises:
        SinkUnavailableError: the database cannot be opened.
    """

    def __init__(self, uri: str, *, study: str, study_key: str, experiment: str, artifact_location: str | None) -> None:
        self._study = study
        self._study_key = study_key
        self._experiment = experiment
        self._artifact_location = artifact_location
        self._client = open_client(uri)
        self._experiment_id: str | None = None
        self._runs: dict[str, _Run] | None = None

    def apply(self, events: Sequence[Event]) -> None:
        """See ``Sink.apply``."""
        for is_last in (False, True):
            try:
                self._apply_all(events)
                return
            except Exception as error:
                self._experiment_id = self._runs = None
                # What we knew may be wrong: a run was deleted, another study made the experiment. Look once
                # more.
                if is_last or _code(error) not in _REFUSALS:
                    raise self._in_our_words(error) from None

    def _apply_all(self, events: Sequence[Event]) -> None:
        epochs = [event for event in events if isinstance(event, EpochLogged)]
        if len(epochs) == len(events):
            self._log_epochs(epochs)
        else:
            for event in events:
                self._apply_one(event)

    def _apply_one(self, event: Event) -> None:
        match event:
            case StudyStarted():
                self._begin("", event.at_ms, event.params, {**event.tags, "state": "running"})
            case TrialStarted():
                self._begin(event.key, event.at_ms, event.params, start_tags(event))
            case EpochLogged():
                self._log_epochs([event])
            case FileLogged():
                self._log_file(event)
            case TrialEnded():
                self._end_trial(event)
            case StudyLogged():
                run = self._run("", event.at_ms)
                self._log(run, _metrics(event.metrics, at_ms=event.at_ms, step=0), tags=event.tags)
            case StudyEnded():
                run = self._run("", event.at_ms)
                self._log(run, tags={"state": event.state})
                self._set_status(run, _STUDY_STATUS.get(event.state, "FAILED"), event.at_ms)

    def _log_epochs(self, events: Sequence[EpochLogged]) -> None:
        points: dict[str, list[Metric]] = {}
        for event in events:
            points.setdefault(event.key, []).extend(_metrics(event.metrics, at_ms=event.at_ms, step=event.epoch))
        for key, metrics in points.items():
            self._log(self._run(key, events[0].at_ms), metrics)

    def _end_trial(self, event: TrialEnded) -> None:
        run = self._run(event.key, event.at_ms)
        # One that goes on has no summary yet, and the end of one that was cut off while ending is told twice.
        figures = {} if event.outcome == Outcome.INTERRUPTED else summary_metrics(event.metrics)
        at_ms = event.at_ms if event.best_at_ms is None else event.best_at_ms
        self._log(run, _metrics(figures, at_ms=at_ms, step=event.epochs), tags=end_tags(event))
        self._set_status(run, run_status(event.outcome), event.at_ms)

    def _log_file(self, event: FileLogged) -> None:
        path = Path(event.path)
        if not path.exists():
            _LOG.warning("%s is missing and is not logged to MLflow", path)
            return
        run = self._run(event.key or "", event.at_ms)
        log = self._client.log_artifacts if path.is_dir() else self._client.log_artifact
        log(run.id, str(path), name_text(event.folder) if event.folder else None)

    def _begin(self, key: str, at_ms: int, params: Mapping[str, ParameterValue], tags: dict[str, str]) -> None:
        """Open a run, or open it again, and add the params that it lacks: MLflow refuses to change one."""
        is_new = key not in self._known_runs()
        tags = {name: text for name, text in tags.items() if name not in _IDENTITY}
        run = self._run(key, at_ms, tags, params)
        missing = {name: text for name, text in param_values(params).items() if name not in run.param_names}
        self._log(run, params=missing, tags={} if is_new else tags)
        run.param_names.update(missing)
        self._set_status(run, "RUNNING", at_ms)

    def _run(
        self,
        key: str,
        at_ms: int,
        tags: Mapping[str, str] | None = None,
        params: Mapping[str, ParameterValue] | None = None,
    ) -> _Run:
        """The run of a trial, or of the study for an empty key; created when there is none."""
        runs = self._known_runs()
        if key not in runs:
            own = {"study": self._study, "study_key": self._study_key, "mlflow.source.name": "distune"}
            if key:
                own |= {"trial": key, "trial_key": self._trial_key(key), "mlflow.parentRunId": self._run("", at_ms).id}
            name = run_name(key, params) if key else self._study
            created = self._client.create_run(
                self._find_experiment(), start_time=at_ms, tags=tag_values({**(tags or {}), **own}), run_name=name
            )
            runs[key] = _Run(created.info.run_id, created.info.status, set())
        return runs[key]

    def _log(
        self,
        run: _Run,
        metrics: Sequence[Metric] = (),
        *,
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Log any number of values in as few calls as MLflow allows; none when there is nothing."""
        from mlflow.entities import Param, RunTag

        params_left = [Param(name, text) for name, text in (params or {}).items()]
        tags_left = [RunTag(name, text) for name, text in tag_values(tags or {}).items()]
        metrics_left = list(metrics)
        while metrics_left or params_left or tags_left:
            room = _MAX_METRICS_PER_CALL
            params_now = params_left[:_MAX_PARAMS_AND_TAGS_PER_CALL]
            tags_now = tags_left[:_MAX_PARAMS_AND_TAGS_PER_CALL]
            metrics_now = metrics_left[: room - len(params_now) - len(tags_now)]
            self._client.log_batch(run.id, metrics=metrics_now, params=params_now, tags=tags_now)
            del params_left[: len(params_now)], tags_left[: len(tags_now)], metrics_left[: len(metrics_now)]

    def _set_status(self, run: _Run, status: str, at_ms: int) -> None:
        if status in ("RUNNING", "SCHEDULED"):
            if run.status != status:
                self._client.update_run(run.id, status=status)
        else:
            self._client.set_terminated(run.id, status=status, end_time=at_ms)
        run.status = status

    def _known_runs(self) -> dict[str, _Run]:
        """All runs of the study by trial key. Read from MLflow once, and again after any failure."""
        if self._runs is None:
            prefix = self._trial_key("")
            self._runs = {}
            for run in _search_runs(self._client, self._find_experiment(), self._study_key):
                key = run.data.tags.get("distune.trial_key", prefix).removeprefix(prefix)
                self._runs.setdefault(key, _Run(run.info.run_id, run.info.status, set(run.data.params)))
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
        return self._experiment_id

    def _in_our_words(self, error: Exception) -> Exception:
        """Tell what can be tried again at any time from what never can; an unclear case stays what it is."""
        text = redact_uri(str(error).strip() or repr(error))
        code = _code(error)
        if code in _REFUSALS:
            return EventRefusedError(text)
        if code in _TRANSIENT or _is_storage_trouble(error) or not self._answers():
            return SinkUnavailableError(text)
        return error

    def _answers(self) -> bool:
        try:
            self._client.search_experiments(max_results=1)
        except Exception:
            return False
        return True


def find_study_runs(uri: str, *, experiment: str, study_key: str) -> StudyRuns | None:
    """Where a study lies in MLflow; None when nothing of it is there yet.

    Raises:
        UsageError: the tracking server does not answer.
    """
    try:
        client = open_client(uri)
        found = client.get_experiment_by_name(experiment)
        if found is None:
            return None
        runs = _search_runs(client, found.experiment_id, study_key)
    except Exception as error:
        raise UsageError(f"the tracking server {redact_uri(uri)} does not answer: {redact_uri(str(error))}") from None
    searched = [run for run in runs if run.data.tags.get("distune.kind") != "confirmation"]
    trials = {run.data.tags["distune.trial"]: run.info.run_id for run in searched if "distune.trial" in run.data.tags}
    parents = [run.info.run_id for run in runs if "distune.trial" not in run.data.tags]
    return StudyRuns(experiment_id=found.experiment_id, study_run_id=next(iter(parents), None), trial_run_ids=trials)


def open_client(uri: str) -> MlflowClient:
    """A client for a tracking URI. A new database gets its tables.

    Raises:
        SinkUnavailableError: the database cannot be opened. A server is not asked before the first call.
    """
    prepare_client(os.environ)
    from mlflow import MlflowClient

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # It writes a traceback for each failed call; what failed is said once, by us.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    if is_database(uri):
        _try_database(uri)
    return MlflowClient(tracking_uri=uri)


def _try_database(uri: str) -> None:
    """MLflow tries fifteen times with growing waits, hours in all, when a database is away. We try once."""
    import sqlalchemy

    engine = sqlalchemy.create_engine(uri, poolclass=sqlalchemy.pool.NullPool)
    try:
        sqlalchemy.inspect(engine).get_table_names()
    except sqlalchemy.exc.SQLAlchemyError as error:
        raise SinkUnavailableError(redact_uri(str(error))) from None


def _search_runs(client: MlflowClient, experiment_id: str, study_key: str) -> list[Run]:
    """All runs of a study that are not deleted, the oldest first."""
    runs: list[Run] = []
    token: str | None = None
    while token != "":
        page = client.search_runs(
            [experiment_id],
            f"tags.`distune.study_key` = '{study_key}'",
            max_results=_RUNS_PER_PAGE,
            order_by=["attributes.start_time ASC"],
            page_token=token,
        )
        runs.extend(page)
        token = page.token or ""
    return runs


def _is_storage_trouble(error: BaseException) -> bool:
    """Whether the place of the artifacts is full, read-only or broken. That passes, and no event is to blame for it."""
    return isinstance(error, OSError) and error.errno in _STORAGE_ERRNOS


def _code(error: Exception) -> str:
    from mlflow.exceptions import MlflowException

    return str(error.error_code) if isinstance(error, MlflowException) else ""


def _metrics(metrics: Mapping[str, float], *, at_ms: int, step: int) -> list[Metric]:
    from mlflow.entities import Metric

    return [Metric(name, value, at_ms, step) for name, value in metric_values(metrics).items()]
