"""Runs a command and reads the CPU time and the memory of its whole tree of processes."""

from __future__ import annotations

import dataclasses
import subprocess
import time
from collections.abc import Mapping, Sequence

import psutil

_PAUSE_S = 0.5


@dataclasses.dataclass(frozen=True)
class MeteredRun:
    """Costs of a command.

    Attributes:
        output: its standard output.
        wall_s: seconds on the clock.
        cpu_s: CPU seconds of all its processes. The last half second of each process may be missing.
        peak_mb: largest sum of the memory that its processes do not share (USS), in MB.
    """

    output: str
    wall_s: float
    cpu_s: float
    peak_mb: float


def run_metered(command: Sequence[str], environment: Mapping[str, str]) -> MeteredRun:
    """Run a command and meter it.

    Args:
        command: program and arguments.
        environment: of the process.

    Returns:
        Output and costs.

    Raises:
        CalledProcessError: it exits with another status than 0.
    """
    started = time.perf_counter()
    process = subprocess.Popen(command, env=dict(environment), stdout=subprocess.PIPE, text=True)
    root = psutil.Process(process.pid)
    seconds: dict[tuple[int, float], float] = {}
    peak = 0
    while process.poll() is None:
        memory = 0
        for each in _tree(root):
            try:
                times = each.cpu_times()
                seconds[each.pid, each.create_time()] = times.user + times.system
                memory += each.memory_full_info().uss
            except psutil.Error:
                continue  # it has ended
        peak = max(peak, memory)
        time.sleep(_PAUSE_S)
    output, _ = process.communicate()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, output)
    return MeteredRun(output, time.perf_counter() - started, sum(seconds.values()), peak / 2**20)


def _tree(root: psutil.Process) -> list[psutil.Process]:
    try:
        return [root, *root.children(recursive=True)]
    except psutil.Error:
        return []
