"""The address of a Ray cluster is checked before anything is written or trained."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import distune
from distune.errors import ResourceError
from distune.study.runners import ray_address
from distune.study.runners.ray_address import check_address, cluster_of_machine

SETTINGS_FRAME = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])


@contextlib.contextmanager
def listener(answer: bytes | None) -> Iterator[str]:
    """Listen on a port; answer with these bytes, or with nothing at all."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                connection, _ = server.accept()
                with connection:
                    connection.recv(100)
                    if answer is None:
                        connection.recv(100)  # until the client gives up
                    else:
                        connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        thread.join(5)


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


def status_with(monkeypatch: pytest.MonkeyPatch, code: int, text: str = "") -> None:
    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, code, "", text)

    monkeypatch.setattr("distune.study.runners.ray_address.subprocess.run", run)


def test_a_port_where_nothing_listens_is_refused_at_once() -> None:
    began = time.monotonic()
    with pytest.raises(ResourceError, match=r"127.0.0.1:\d+: no Ray cluster answers there \(Connection refused\); "):
        check_address(free_port(), runner="ray")
    assert time.monotonic() - began < 1


def test_a_host_that_never_answers_is_refused_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_address, "_TIMEOUT_S", 0.1)
    with listener(None) as address, pytest.raises(ResourceError, match=r"no answer within 0.1 s"):
        check_address(address, runner="ray")


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b""])
def test_another_program_is_refused(answer: bytes) -> None:
    with listener(answer) as address, pytest.raises(ResourceError, match="another program listens there"):
        check_address(address, runner="ray")


def test_a_gateway_without_ray_behind_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    status_with(monkeypatch, 1, "Traceback\nRpcError: status: 404")
    with listener(SETTINGS_FRAME) as address, pytest.raises(ResourceError, match=r"\(RpcError: status: 404\)"):
        check_address(address, runner="ray")


def test_a_cluster_that_answers_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    status_with(monkeypatch, 0)
    with listener(SETTINGS_FRAME) as address:
        check_address(address, runner="ray")


@pytest.mark.parametrize("address", ["head", "head:ray", "http://head:6379", "head:99999"])
def test_an_address_without_a_port_is_refused(address: str) -> None:
    with pytest.raises(ResourceError, match="such as head:6379"):
        check_address(address, runner="ray")


def test_no_address_is_needed_for_the_local_runner_or_an_own_ray() -> None:
    check_address(None, runner="ray")
    check_address(free_port(), runner="local")


def test_auto_is_the_address_that_ray_would_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {"RAY_TMPDIR": str(tmp_path)}
    assert cluster_of_machine(environment) is None
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("10.0.0.1:6379\n")
    assert cluster_of_machine(environment) == "10.0.0.1:6379"
    assert cluster_of_machine({**environment, "RAY_ADDRESS": "head:6379"}) == "head:6379"
    gone = free_port()
    monkeypatch.setenv("RAY_ADDRESS", gone)
    with pytest.raises(ResourceError, match=rf"auto \({gone}\): no Ray cluster"):
        check_address("auto", runner="ray")


def test_launch_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match="no Ray cluster answers"):
        distune.launch(
            "quickstart",
            simulate=True,
            overrides={"resources.address": free_port()},
            callbacks=[],
            home=tmp_path / "home",
        )
    assert not (tmp_path / "home").exists()
