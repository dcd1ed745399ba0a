"""Checks within seconds that Ray answers at the address of a cluster. Ray itself would try for minutes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import urllib.parse
from collections.abc import Mapping
from pathlib import Path

from distune.errors import ResourceError
from distune.study.files.study_folder import Runner
from distune.tracking.uris import redact_uri

_TIMEOUT_S = 3.0
"""Time limit of each step: to connect, and to receive the first bytes."""
_STATUS_TIMEOUT_S = 6.0
"""Time limit of ``ray status``. On a busy machine it may need more, and is no proof then."""
_HTTP2_START = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
"""The first bytes of a client of gRPC, which Ray speaks: the preface of HTTP/2 and empty settings."""
_FRAME_HEAD_BYTES, _TYPE, _SETTINGS = 9, 3, 4
"""A server of HTTP/2 answers with a frame of settings: its head is 9 bytes, the fourth of them its type."""


def check_address(address: str | None, *, runner: Runner) -> None:
    """Check that Ray answers where a study wants to use it.

    A process that is connected to Ray keeps that connection, and the local runner needs none.

    Args:
        address: ``resources.address``: None starts Ray on this machine, ``auto`` is the cluster of this machine.
        runner: runner of the study.

    Raises:
        ResourceError: the address has no port, or no Ray answers there within seconds.
    """
    ray = sys.modules.get("ray")
    if runner != "ray" or address is None or (ray is not None and ray.is_initialized()):
        return
    place = cluster_of_machine(os.environ) if address == "auto" else address
    if place is None or place == "local":
        return  # Ray says at once that there is no cluster, or starts one
    shown = redact_uri(address if address == place else f"{address} ({place})")
    try:
        host, port = _host_and_port(place)
    except ValueError:
        raise ResourceError(
            f"resources.address = {shown}: write auto, or the host and port of a Ray cluster, such as head:6379"
        ) from None
    problem = _problem_at(host, port) or _problem_of_ray(place)
    if problem is not None:
        raise ResourceError(
            f"resources.address = {shown}: no Ray cluster answers there ({problem}); start it (ray start --head), "
            f"correct the address, or leave it out to use Ray on this machine"
        )


def cluster_of_machine(environment: Mapping[str, str]) -> str | None:
    """Return the address that ``auto`` stands for, None when only Ray can find it.

    Args:
        environment: variables of the process.

    Returns:
        The variable ``RAY_ADDRESS``, or the address that ``ray start`` left in Ray's folder.
    """
    file = Path(environment.get("RAY_TMPDIR") or "/tmp") / "ray" / "ray_current_cluster"  # noqa: S108 - Ray's own
    given = environment.get("RAY_ADDRESS")
    if given and given != "auto":
        return given
    try:
        return file.read_text(encoding="utf-8").strip() or None
    except OSError:
        return None


def _host_and_port(address: str) -> tuple[str, int]:
    parts = urllib.parse.urlsplit(f"//{address}")
    if not parts.hostname or parts.port is None or "/" in address:
        raise ValueError(address)
    return parts.hostname, parts.port


def _problem_at(host: str, port: int) -> str | None:
    """Return why there is no Ray, None when a server of gRPC answers."""
    try:
        with socket.create_connection((host, port), timeout=_TIMEOUT_S) as connection:
            if os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true"):
                return None
            connection.sendall(_HTTP2_START)
            head = connection.recv(_FRAME_HEAD_BYTES, socket.MSG_WAITALL)
    except TimeoutError:
        return f"no answer within {_TIMEOUT_S:g} s"
    except OSError as error:
        return error.strerror or str(error)
    is_settings = len(head) == _FRAME_HEAD_BYTES and head[_TYPE] == _SETTINGS
    return None if is_settings else "another program listens there"


def _problem_of_ray(address: str) -> str | None:
    """Return why ``ray status`` fails, None when it succeeds. A gateway may answer in place of the cluster."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "status", "--address", address]
    try:
        done = subprocess.run(  # noqa: S603 - this interpreter
            command, capture_output=True, timeout=_STATUS_TIMEOUT_S, check=False, text=True, errors="replace"
        )
    except subprocess.TimeoutExpired:
        return None
    lines = done.stderr.strip().splitlines() or ["ray status failed"]
    return None if done.returncode == 0 else redact_uri(lines[-1])
