"""The MLflow UI: a local server for a database, and the links to a study on it."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from distune.errors import DistuneError, UsageError
from distune.tracking.environment import prepare_server
from distune.tracking.links import StudyLinks, links_to
from distune.tracking.mlflow_client import find_study_runs
from distune.tracking.store_version import check_store_version
from distune.tracking.uris import check_uri, is_database, is_server, redact_uri

_POLL_S = 0.2
_STOP_TIMEOUT_S = 10.0
_NUM_LINES_SHOWN = 15
_LARGEST_PORT = 65535
_WILDCARD_ADDRESSES = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound


_ENDS_WITH_PARENT = """
import os, runpy, signal, sys, threading

def wait():
    os.read(0, 1)  # returns when the process that holds the other end has ended
    os.killpg(0, signal.SIGKILL)

threading.Thread(target=wait, daemon=True).start()
sys.argv[0] = "mlflow"
runpy.run_module("mlflow", run_name="__main__")
"""
"""Runs ``mlflow`` until the process that has started it ends, also by SIGKILL: then its process group ends."""


class NoRunsError(UsageError):
    """The store has no runs of a study."""


@dataclasses.dataclass
class UiServer:
    """A running UI. Use it as a context manager, or call ``stop``.

    Attributes:
        url: of the UI.
        process: ``mlflow server``, the leader of its own process group.
    """

    url: str
    process: subprocess.Popen[bytes]

    def wait(self) -> int:
        """Wait until the server exits, and return its exit status."""
        return self.process.wait()

    def stop(self) -> None:
        """Stop the server and its workers. May be called again."""
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(_STOP_TIMEOUT_S)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        if self.process.stdin is not None:
            self.process.stdin.close()

    def __enter__(self) -> UiServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def start_ui(
    uri: str,
    *,
    artifacts: Path,
    host: str = "127.0.0.1",
    port: int = 5000,
    timeout_s: float = 120.0,
    on_message: Callable[[str], None] | None = None,
) -> UiServer:
    """Start the MLflow UI for a database and wait until it answers. One worker, no background jobs, no telemetry.

    Args:
        uri: of the database.
        artifacts: where experiments created through this server keep their artifacts.
        host: address to listen on; by default only this machine can connect.
        port: 0 takes a free one.
        timeout_s: time limit for the first answer.
        on_message: receives a line before the server is started, since its start takes seconds.

    Returns:
        The running server.

    Raises:
        UsageError: the URI is not a database, its tables are of another release of MLflow, or the port is no port or in
            use.
        DistuneError: the server exited or did not answer in time; the message has its last lines of output.
    """
    check_uri(uri)
    if not is_database(uri):
        raise UsageError(f"{redact_uri(uri)}: this server has its own UI; open it there")
    port = _free_port(host, port)
    import sqlalchemy.exc

    with contextlib.suppress(sqlalchemy.exc.SQLAlchemyError):  # the server says why
        check_store_version(uri)
    if on_message is not None:
        on_message(f"waiting for the MLflow server to start on {_url(host, port)}; this takes some seconds")
    environment = dict(os.environ)
    prepare_server(environment)
    # In the environment, since every user of the machine can read the password in a command line.
    environment["MLFLOW_BACKEND_STORE_URI"] = uri
    command = [sys.executable, "-c", _ENDS_WITH_PARENT, "server", "--host", host, "--port", str(port), "--workers", "1"]
    command += ["--default-artifact-root", artifacts.absolute().as_uri()]
    command += ["--artifacts-destination", artifacts.absolute().as_uri(), "--uvicorn-opts", "--log-level warning"]
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(  # noqa: S603 - this interpreter
            command,
            env=environment,
            stdin=subprocess.PIPE,  # stays open as long as this process lives
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        server = UiServer(url=_url(host, port), process=process)
        try:
            _wait_until_healthy(server, _WILDCARD_ADDRESSES.get(host, host), port, timeout_s, output)
        except BaseException:
            server.stop()
            raise
    return server


def ui_address(uri: str, *, host: str = "127.0.0.1", port: int = 5000) -> str:
    """Return the address of the UI of a store: the server itself, or for a database the one of ``start_ui``."""
    return redact_uri(uri).replace("***@", "").rstrip("/") if is_server(uri) else _url(host, port)


def study_links(uri: str, *, base_url: str, experiment: str, study_key: str, metric: str) -> StudyLinks:
    """Find the runs of a study and return the links to their pages.

    Args:
        uri: the tracking URI, where the runs are searched.
        base_url: address of the UI, from ``ui_address`` or ``UiServer.url``.
        experiment: name of the MLflow experiment.
        study_key: the one that the tracker was built with.
        metric: sorts the trials, such as ``search/AP``.

    Returns:
        The links.

    Raises:
        NoRunsError: the store has no runs of this study.
        UsageError: the tracking server does not answer.
    """
    runs = find_study_runs(uri, experiment=experiment, study_key=study_key)
    if runs is None or (runs.study_run_id is None and not runs.trial_run_ids):
        raise NoRunsError(f"{redact_uri(uri)}: has no experiment {experiment} with runs of this study yet")
    return links_to(base_url, runs, study_key=study_key, metric=metric)


def _wait_until_healthy(server: UiServer, host: str, port: int, timeout_s: float, output: IO[bytes]) -> None:
    deadline = time.monotonic() + timeout_s
    while not _is_healthy(host, port):
        status = server.process.poll()
        if status is not None:
            raise DistuneError(f"the MLflow server exited with status {status}:\n{_last_lines(output)}")
        if time.monotonic() > deadline:
            raise DistuneError(f"the MLflow server did not answer within {timeout_s:g} s:\n{_last_lines(output)}")
        time.sleep(_POLL_S)


def _is_healthy(host: str, port: int) -> bool:
    connection = http.client.HTTPConnection(host, port, timeout=2)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _free_port(host: str, port: int) -> int:
    if not 0 <= port <= _LARGEST_PORT:
        raise UsageError(f"port {port}: must be from 1 to {_LARGEST_PORT}, or 0 for a free one")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise UsageError(
                f"cannot listen on {host}:{port} ({error.strerror}); choose another port, or 0 for a free one"
            ) from None
        return int(probe.getsockname()[1])


def _url(host: str, port: int) -> str:
    shown = _WILDCARD_ADDRESSES.get(host, host)
    return f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"


def _last_lines(output: IO[bytes]) -> str:
    output.seek(0)
    lines = output.read().decode(errors="replace").splitlines()
    return redact_uri("\n".join(lines[-_NUM_LINES_SHOWN:]))
