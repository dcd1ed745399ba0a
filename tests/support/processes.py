"""Processes that a process has started (Linux)."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from support.zygote import is_running


def descendants(pid: int) -> list[int]:
    """Process ids of the children of a process, of their children and so on."""
    children = [
        int(child) for file in Path(f"/proc/{pid}/task").glob("*/children") for child in file.read_text().split()
    ]
    return [*children, *(each for child in children for each in descendants(child))]


def still_running(pids: list[int], *, timeout_s: float) -> list[int]:
    """Wait until these processes have ended. Return those that have not, and kill them."""
    deadline = time.monotonic() + timeout_s
    while (alive := [pid for pid in pids if is_running(pid)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    for pid in alive:
        os.kill(pid, signal.SIGKILL)
    return alive
