"""Environment variables for MLflow: no retries of its own, no output on stdout, no telemetry.

MLflow reads these from the environment only. Variables that the user has set stay as they are.
"""

from __future__ import annotations

from collections.abc import MutableMapping

_PRIVACY = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}

_CLIENT = {
    **_PRIVACY,
    # The sending thread retries. With MLflow's own retries a single call takes up to four minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    # Without it, ending a run prints the address of the server with its password into the live table of trials.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}

_SERVER = {
    **_PRIVACY,
    # The jobs take 15 processes and 1.7 GiB, and distune uses none.
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}


def prepare_client(environment: MutableMapping[str, str]) -> None:
    """Set the missing variables for a process that imports MLflow. Call it before the import."""
    for name, value in _CLIENT.items():
        environment.setdefault(name, value)


def prepare_server(environment: MutableMapping[str, str]) -> None:
    """Set the missing variables for ``mlflow server``."""
    for name, value in _SERVER.items():
        environment.setdefault(name, value)
