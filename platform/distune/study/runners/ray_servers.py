"""The servers of a Ray that this session has started: without them Ray ends the process after a minute."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path

_SERVERS = ("gcs_server", "raylet")
_ENDED = ("Z", "X")


class RayLostError(BaseException):
    """A server of Ray has ended, so the session cannot continue.

    No ``Exception``: after one Tune cleans up, which waits for the servers.
    """


class RayServers:
    """The servers among the children of this process. Where there is no ``/proc``, none is found and none is lost."""

    def __init__(self) -> None:
        self._names = {pid: name for pid in _children(os.getpid()) if (name := _name_of(pid)) in _SERVERS}

    def check(self) -> None:
        """Raise ``RayLostError`` when one of them has ended."""
        for pid, name in self._names.items():
            if _name_of(pid) != name:
                raise RayLostError(f"Ray's process {name} has ended")


def servers_check(*, starts_ray: bool) -> Callable[[], None]:
    """Return a function that raises ``RayLostError`` when a server of this session's Ray has ended.

    Args:
        starts_ray: whether the session has started Ray. The servers of another Ray are not ours to watch, and its
            machines may come and go.

    Returns:
        The function, to be called several times a second.
    """
    return RayServers().check if starts_ray else _check_nothing


def _check_nothing() -> None:
    return None


def end_ray_processes() -> None:
    """Kill the servers and their children, some of which would outlive this process."""
    servers = [pid for pid in _children(os.getpid()) if _name_of(pid) in _SERVERS]
    for pid in [*(child for server in servers for child in _children(server)), *servers]:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def _children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [
            int(child) for file in Path(f"/proc/{pid}/task").glob("*/children") for child in file.read_text().split()
        ]
    return []


def _name_of(pid: int) -> str | None:
    """Return the name of a process that runs."""
    try:
        before, _, after = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
    except OSError:
        return None
    return None if after.split()[0] in _ENDED else before.partition("(")[2]
