"""Output that has no reader ends neither a study nor a command, and prints no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from support.experiments import small_values

FULL = Path("/dev/full")
COMMAND = [sys.executable, "-c", "from distune.cli.main import main; main()"]


def run_without_reader(home: Path, *arguments: str, stream: str) -> subprocess.CompletedProcess[bytes]:
    """Run a command whose standard output or error is a pipe that has been closed."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        return subprocess.run(
            [*COMMAND, *arguments],
            env={**os.environ, "DISTUNE_HOME": str(home)},
            check=False,
            timeout=120,
            stdout=writer if stream == "stdout" else subprocess.PIPE,
            stderr=writer if stream == "stderr" else subprocess.PIPE,
        )
    finally:
        os.close(writer)


@pytest.mark.slow
def test_a_study_is_finished_when_the_reader_of_its_log_has_gone(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(small_values({"search": {"num_trials": 1, "controls": 0}})))
    launch = ("launch", str(path), "--name", "small", "--simulate", "--runner", "local")
    done = run_without_reader(tmp_path / "home", *launch, stream="stderr")
    assert done.returncode == 0
    assert b"finished" in done.stdout
    status = run_without_reader(tmp_path / "home", "status", "small", stream="stdout")
    assert (status.returncode, status.stderr) == (0, b"")


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
@pytest.mark.parametrize("streams", ["stdout", "stderr", "both"])
def test_a_full_disk_under_the_log_is_no_error(tmp_path: Path, streams: str) -> None:
    code = """
from distune.reports.console import flush_output, make_console
for stderr in (False, True):
    console = make_console(stderr=stderr)
    for _ in range(100):
        console.print(1000 * "x")
flush_output()
"""
    with FULL.open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", code],
            stdout=subprocess.PIPE if streams == "stderr" else full,
            stderr=subprocess.PIPE if streams == "stdout" else full,
            check=False,
            timeout=60,
        )
    printed = done.stdout if streams == "stderr" else done.stderr
    assert streams == "both" or printed == 100 * (1000 * b"x" + b"\n")
    if streams == "stderr":
        assert done.returncode == 0
