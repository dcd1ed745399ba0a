"""Environment variables that MLflow reads: short waits, nothing on standard output, nothing sent to its makers.

MLflow takes these from the environment only, not per client. Whoever has set one keeps it.
"""

from __future__ import annotations

from collections.abc import MutableMapping

_PRIVACY = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}

_CLIENT = {
    **_PRIVACY,
    # The shipping thread retries by itself. MLflow's own defaults wait for four minutes in one call.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
    # Ending a run on a server prints its address, password included, into the live table of trials.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}

_SERVER = {
    **_PRIVACY,
    # Off: 15 processes and 1.7 GiB. distune uses none of the jobs.
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}


def prepare_client(environment: MutableMapping[str, str]) -> None:
    """Fill in what is not set for a process that imports MLflow. To be called before the import."""
    for name, value in _CLIENT.items():
        environment.setdefault(name, value)


def prepare_server(environment: MutableMapping[str, str]) -> None:
    """Fill in what is not set for ``mlflow server``."""
    for name, value in _SERVER.items():
        environment.setdefault(name, value)
