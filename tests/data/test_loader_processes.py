"""Processes that load images end with the process that uses them, whatever ends it."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from support.processes import descendants, still_running

LOADING = """
import signal
import sys
from pathlib import Path
from distune.data.loading import make_loader


class Images:
    def __getitem__(self, key):
        return bytes(4_000_000)

    def __len__(self):
        return 1000


if __name__ == "__main__":
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup
    loader = make_loader(Images(), [[index] for index in range(1000)], collate=len_of, num_workers=2)
    for _ in loader:
        print("loaded", flush=True)
        sys.stdin.read()
""".replace("len_of", "list")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_loader_processes_end_with_their_parent(
    number: signal.Signals, tmp_path_factory: pytest.TempPathFactory
) -> None:
    script = tmp_path_factory.mktemp("l") / "loading.py"
    script.write_text(LOADING)
    with subprocess.Popen(
        [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "loaded\n"
        children = descendants(process.pid)
        process.send_signal(number)
        assert process.wait() == -number
    assert len(children) == 4  # the resource tracker, the forkserver and two workers
    assert not still_running(children, timeout_s=20)
