"""The MLflow client: how to open one, how to find the runs of a study, and the kinds of its errors."""

from __future__ import annotations

import errno
import logging
import os
from typing import TYPE_CHECKING

from distune.errors import DISK_ERRNOS, UsageError
from distune.tracking.environment import prepare_client
from distune.tracking.links import StudyRuns
from distune.tracking.sink import EventRefusedError, SinkUnavailableError
from distune.tracking.store_version import StoreVersionError, check_store_version
from distune.tracking.study_view import VIEW_TAG
from distune.tracking.timeouts import is_connection_error, shorten_timeout
from distune.tracking.uris import is_database, redact_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_RUNS_PER_PAGE = 1000
_MAX_HEADLINES = 100
REPLACED = "replaced"
"""Kind of a run whose trial was trained anew, in a run of its own."""
HEADLINE_TAG = "distune.headline"
"""Tag of a study's own run: its result in a sentence."""
NO_MLFLOW = "it answers, but not as an MLflow server does; check tracking.uri"
"""The fault of a server, such as a proxy, that answers every request without a content."""
_REFUSED = {"INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS"}
_UNAVAILABLE = {
    "TEMPORARILY_UNAVAILABLE",
    "REQUEST_LIMIT_EXCEEDED",
    "RESOURCE_EXHAUSTED",
    "DEADLINE_EXCEEDED",
    "CUSTOMER_UNAUTHORIZED",
    "UNAUTHENTICATED",
    "PERMISSION_DENIED",
}
_STORAGE_ERRNOS = DISK_ERRNOS | {errno.EACCES, errno.EPERM}
"""The artifact store is full, read-only or broken for a while, and no event is the reason."""


def open_client(uri: str) -> MlflowClient:
    """Open a client. A new database gets its tables; a server is not called.

    Args:
        uri: any tracking URI that ``check_uri`` accepts.

    Returns:
        The client.

    Raises:
        SinkUnavailableError: the database cannot be opened.
        StoreVersionError: it has the tables of another release of MLflow.
    """
    prepare_client(os.environ)
    from mlflow import MlflowClient

    shorten_timeout()
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # It logs a traceback for each failed call; the tracker logs the failure once.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    if is_database(uri):
        _connect_once(uri)
    return MlflowClient(tracking_uri=uri)


def search_runs(client: MlflowClient, experiment_id: str, study_key: str) -> list[Run]:
    """Return all runs of a study that are not deleted, replaced ones included, the oldest first."""
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


def is_replaced(run: Run) -> bool:
    """Return whether the trial of a run was trained anew, in a run of its own."""
    return bool(run.data.tags.get("distune.kind") == REPLACED)


def search_headlines(client: MlflowClient, experiment_id: str) -> list[tuple[str, str]]:
    """Return name and result of the studies of an experiment that have one, the latest first."""
    runs = client.search_runs(
        [experiment_id],
        f"tags.`{HEADLINE_TAG}` LIKE '%'",
        max_results=_MAX_HEADLINES,
        order_by=["attributes.start_time DESC"],
    )
    return [(run.data.tags.get("distune.study", ""), run.data.tags[HEADLINE_TAG]) for run in runs]


def find_study_runs(uri: str, *, experiment: str, study_key: str) -> StudyRuns | None:
    """Find the runs of a study, without those of its confirmation.

    Args:
        uri: of the store.
        experiment: name of the MLflow experiment.
        study_key: the one that the tracker was built with.

    Returns:
        The ids of the runs; None when the experiment does not exist.

    Raises:
        UsageError: the tracking server does not answer, or its database is of another release of MLflow.
    """
    try:
        client = open_client(uri)
        found = client.get_experiment_by_name(experiment)
        if found is None:
            return None
        if not found.experiment_id:
            raise SinkUnavailableError(NO_MLFLOW)
        runs = search_runs(client, found.experiment_id, study_key)
    except StoreVersionError:
        raise
    except Exception as error:
        raise UsageError(f"the tracking server {redact_uri(uri)} does not answer: {redact_uri(str(error))}") from None
    searched = [run for run in runs if run.data.tags.get("distune.kind") not in ("confirmation", "ablation", REPLACED)]
    trials = {run.data.tags["distune.trial"]: run.info.run_id for run in searched if "distune.trial" in run.data.tags}
    parents = [run.info.run_id for run in runs if "distune.trial" not in run.data.tags]
    return StudyRuns(
        experiment_id=found.experiment_id,
        study_run_id=next(iter(parents), None),
        trial_run_ids=trials,
        has_view=f"{VIEW_TAG}{study_key}" in found.tags,
    )


def is_refusal(error: Exception) -> bool:
    """Return whether MLflow refused a value or a run: the same call fails again."""
    return _code(error) in _REFUSED


def to_sink_error(error: Exception, client: MlflowClient) -> Exception:
    """Convert an error of MLflow to one of ``Sink.apply``; one of an unknown kind is returned as it is.

    A timeout is an outage, also if the server answers other requests meanwhile: it may be busy with a large file.
    """
    text = redact_uri(str(error).strip() or repr(error))
    if isinstance(error, SinkUnavailableError):
        return error
    if is_connection_error(error):
        return SinkUnavailableError(text)
    if is_available_only_in_name(client):
        return SinkUnavailableError(NO_MLFLOW)
    if is_refusal(error):
        return EventRefusedError(text)
    is_storage_error = isinstance(error, OSError) and error.errno in _STORAGE_ERRNOS
    if _code(error) in _UNAVAILABLE or is_storage_error or not is_available(client):
        return SinkUnavailableError(text)
    return error


def is_available(client: MlflowClient) -> bool:
    """Return whether the store answers."""
    try:
        client.search_experiments(max_results=1)
    except Exception:
        return False
    return True


def is_available_only_in_name(client: MlflowClient) -> bool:
    """Return whether a server answers a search for experiments without any: a study's server has at least one."""
    from mlflow.entities import ViewType

    try:
        return not client.search_experiments(view_type=ViewType.ALL, max_results=1)
    except Exception:
        return False


def _code(error: Exception) -> str:
    from mlflow.exceptions import MlflowException

    return str(error.error_code) if isinstance(error, MlflowException) else ""


def _connect_once(uri: str) -> None:
    """Try the database once, and check its version. MLflow itself retries with growing waits, for hours."""
    import sqlalchemy

    engine = sqlalchemy.create_engine(uri, poolclass=sqlalchemy.pool.NullPool)
    try:
        sqlalchemy.inspect(engine).get_table_names()
        check_store_version(uri)
    except sqlalchemy.exc.SQLAlchemyError as error:
        raise SinkUnavailableError(redact_uri(str(error))) from None
