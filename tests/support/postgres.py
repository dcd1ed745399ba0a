"""A PostgreSQL server for a test run: on a random port of this machine, in a temporary folder, without root rights."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

_UNPRIVILEGED = "postgres"
"""User of the server when root runs the tests, since it refuses root. Debian's package makes this user."""


def why_not() -> str | None:
    """Return why no server can be started here, None when it can."""
    if _binaries() is None:
        return "PostgreSQL is not installed (Debian: apt-get install postgresql)"
    if find_spec("psycopg") is None:
        return "its driver is not installed (extra postgres)"
    if os.geteuid() == 0 and _user() is None:
        return f"PostgreSQL does not run as root, and there is no user {_UNPRIVILEGED}"
    return None


@contextlib.contextmanager
def running() -> Iterator[str]:
    """A server with one database. Gives its URL."""
    binaries = _binaries()
    assert binaries is not None
    folder = Path(tempfile.mkdtemp(prefix="distune-postgres-"))
    user = _UNPRIVILEGED if os.geteuid() == 0 else None
    if user is not None:
        shutil.chown(folder, user, user)
    data, port = folder / "data", _free_port()

    def call(program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(binaries / program), *arguments],
            cwd=folder,
            user=user,
            group=user,
            extra_groups=None if user is None else [],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{program}: {done.stdout}{done.stderr}"

    try:
        call("initdb", "-D", str(data), "-U", "distune", "-A", "trust", "-E", "UTF8", "--no-sync")
        options = f"-h 127.0.0.1 -p {port} -k {folder} -c fsync=off"
        call("pg_ctl", "-D", str(data), "-l", str(folder / "log"), "-o", options, "-w", "-t", "120", "start")
        try:
            yield f"postgresql://distune@127.0.0.1:{port}/postgres"
        finally:
            call("pg_ctl", "-D", str(data), "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _binaries() -> Path | None:
    on_path = shutil.which("pg_ctl")
    folders = [Path(on_path).parent] if on_path else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "initdb").is_file()), None)


def _user() -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(_UNPRIVILEGED)
    except KeyError:
        return None


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as callback:
        return int(callback.getsockname()[1])
