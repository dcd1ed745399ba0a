"""Commands of distune in processes of their own, which start in milliseconds: forked from one that has all imported.

The tests that kill sessions start dozens of them, and each would spend seconds on imports.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

_TESTS = Path(__file__).parents[1]


class Zygote:
    """The process that others are forked from. Use it as a context manager.

    Args:
        modules: what it imports.
        environment: of all its children; they may change it.
        folder: their working directory.
    """

    def __init__(self, modules: list[str], *, environment: Mapping[str, str], folder: Path) -> None:
        code = f"import sys; sys.path.insert(0, {str(_TESTS)!r}); from support.zygote import serve; serve()"
        self._process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=folder,
            env={**os.environ, **environment},
        )
        self._ask({"modules": modules})

    def __enter__(self) -> Zygote:
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:  # closes its input, which ends it, and waits
            pass

    def start(self, *arguments: str, log: Path, environment: Mapping[str, str] | None = None) -> int:
        """Start ``distune`` with these arguments. What it prints is added to the log. Returns its process id."""
        request = {"arguments": arguments, "log": str(log), "environment": dict(environment or {})}
        return int(self._ask(request)["pid"])

    def wait(self, pid: int) -> int:
        """Wait for a child. Returns its exit status, negative for the signal that has ended it."""
        return int(self._ask({"wait": pid})["status"])

    def run(self, *arguments: str, log: Path, environment: Mapping[str, str] | None = None) -> int:
        """``start`` and ``wait``."""
        return self.wait(self.start(*arguments, log=log, environment=environment))

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


def is_running(pid: int) -> bool:
    """Return whether a process still runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def serve() -> None:
    """Serve requests: read them from standard input, and answer on standard output."""
    for line in sys.stdin:
        request = json.loads(line)
        if "modules" in request:
            for name in request["modules"]:
                importlib.import_module(name)
            if "optuna" in sys.modules:
                _compile_migrations()
            answer: dict[str, Any] = {}
        elif "wait" in request:
            answer = {"status": os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1])}
        else:
            pid = os.fork()
            if pid == 0:
                _become(request)
            answer = {"pid": pid}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _compile_migrations() -> None:
    """Compile Optuna's migrations, which all forks then have."""
    from optuna.storages import RDBStorage

    from support import optuna_migrations

    optuna_migrations.read_once(pytest.MonkeyPatch())
    storage = RDBStorage("sqlite://")
    storage.remove_session()
    storage.engine.dispose()


def _become(request: dict[str, Any]) -> None:
    """Turn this fork into a command with a process group of its own, and end it."""
    os.setsid()
    os.environ.update(request["environment"])
    output = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(number, target)
    sys.argv = ["distune", *request["arguments"]]
    status = 70
    try:
        from distune.cli.main import main

        main()
    except SystemExit as left:
        status = left.code if isinstance(left.code, int) else 1 if left.code else 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
