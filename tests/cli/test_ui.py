"""``distune ui``: it says what it waits for, refuses what is no port, and leaves no server behind."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from support.command_line import Distune
from support.experiments import small_values
from support.processes import descendants, still_running
from support.zygote import is_running


@pytest.fixture
def study(distune: Distune, tmp_path: Path) -> str:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(small_values({"search": {"num_trials": 1, "controls": 0}})))
    answer = distune(
        "launch", str(path), "--name", "small", "--simulate", "--runner", "local", "--set", "tracking.enabled=true"
    )
    assert answer.status == 0, answer.err
    return "small"


@pytest.mark.parametrize("port", ["-1", "65536", "taken"])
def test_what_is_no_port_is_refused_in_words(distune: Distune, study: str, port: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1]) if port == "taken" else port
        answer = distune("ui", study, "--port", port)
    assert answer.status == 2
    assert port in answer.err
    assert "0 for a free one" in answer.err
    assert "waiting" not in answer.err


def test_a_signal_while_serving_ends_the_command(distune: Distune, study: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = []

    class Server:
        url = "http://127.0.0.1:1"

        def wait(self) -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(30)

        def __enter__(self) -> Server:
            return self

        def __exit__(self, *_: object) -> None:
            stopped.append(True)

    monkeypatch.setattr("distune.api.open_ui.start_ui", lambda *_, **__: Server())
    before = signal.getsignal(signal.SIGTERM)
    answer = distune("ui", study)
    assert (answer.status, stopped) == (0, [True])
    assert "serving until Ctrl-C" in answer.out
    assert signal.getsignal(signal.SIGTERM) == before


_WITH_INTERRUPTS = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # and one under nohup this
from distune.cli.main import main
main()
"""


@contextlib.contextmanager
def _killed(process: subprocess.Popen[str]) -> Iterator[None]:
    """Kill a process at the end, in case it does not end itself: leaving ``Popen`` waits for it."""
    try:
        yield
    finally:
        process.kill()


@pytest.mark.server
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_the_server_as_well(study: str, home: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-c", _WITH_INTERRUPTS, "ui", study, "--port", "0"]
    environment = {**os.environ, "DISTUNE_HOME": str(home)}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process, _killed(process):
        assert process.stderr is not None
        assert process.stderr.readline().startswith("waiting for the MLflow server to start on http://127.0.0.1:")
        children: list[int] = []
        deadline = time.monotonic() + 30
        while not children and time.monotonic() < deadline:
            time.sleep(0.05)
            text = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
            children = [int(child) for child in text.split()]
        process.send_signal(number)
        assert process.wait(60) != 0
    assert children
    assert not any(is_running(child) for child in children)


@pytest.mark.server
def test_the_server_ends_with_a_command_that_is_killed(study: str, home: Path) -> None:
    command = [sys.executable, "-c", _WITH_INTERRUPTS, "ui", study, "--port", "0"]
    environment = {**os.environ, "DISTUNE_HOME": str(home)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process, _killed(process):
        assert process.stdout is not None
        assert any("serving until Ctrl-C" in line for line in process.stdout)
        started = descendants(process.pid)
        process.kill()
        process.wait()
    assert started
    assert not still_running(started, timeout_s=10)
