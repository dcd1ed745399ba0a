"""Timeouts of requests to a tracking server: a short one for records, MLflow's own for files.

A server answers a record at once, but a file only after it has stored the whole of it. MLflow has one timeout for both
and no argument for it, so its default is changed here. ``MLFLOW_HTTP_REQUEST_TIMEOUT``, where the user has set it, goes
first for both.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator

RECORDS_TIMEOUT_S = 15


def shorten_timeout() -> None:
    """Give all requests of this process the short timeout by default."""
    from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_TIMEOUT

    _timeout_of_mlflow()  # read before it is changed
    MLFLOW_HTTP_REQUEST_TIMEOUT.default = RECORDS_TIMEOUT_S


@contextlib.contextmanager
def uploading() -> Iterator[None]:
    """Give requests MLflow's own timeout by default inside the block, which sends files."""
    from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_TIMEOUT

    own = _timeout_of_mlflow()
    before = MLFLOW_HTTP_REQUEST_TIMEOUT.default
    MLFLOW_HTTP_REQUEST_TIMEOUT.default = own
    try:
        yield
    finally:
        MLFLOW_HTTP_REQUEST_TIMEOUT.default = before


def is_connection_error(error: BaseException) -> bool:
    """Return whether a server did not answer in time, or the connection failed.

    Args:
        error: of MLflow, with what caused it: it wraps the errors of requests.

    Returns:
        True if the error or one in its chain of causes is such an error of requests.
    """
    import requests

    chain: BaseException | None = error
    while chain is not None:
        if isinstance(chain, requests.exceptions.Timeout | requests.exceptions.ConnectionError):
            return True
        chain = chain.__cause__ or chain.__context__
    return False


@functools.cache
def _timeout_of_mlflow() -> int:
    from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_TIMEOUT

    default: int = MLFLOW_HTTP_REQUEST_TIMEOUT.default
    return default
