"""The servers of Ray that a session has started."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from distune.study.runners.ray_servers import RayLostError, RayServers


@pytest.mark.parametrize("name", ["gcs_server", "raylet"])
def test_a_server_that_has_ended_is_noticed(tmp_path: Path, name: str) -> None:
    program = shutil.copy(shutil.which("sleep") or "", tmp_path / name)
    with subprocess.Popen([program, "60"]) as process:
        servers = RayServers()
        servers.check()
        process.kill()
        process.wait()
        with pytest.raises(RayLostError, match=f"Ray's process {name} has ended"):
            servers.check()


def test_other_children_are_not_watched() -> None:
    with subprocess.Popen([shutil.which("sleep") or "", "60"]) as process:
        servers = RayServers()
        process.kill()
    servers.check()


def test_tune_does_not_clean_up_after_it() -> None:
    """Tune catches ``Exception`` to clean up, which waits for the servers."""
    assert not issubclass(RayLostError, Exception)
