"""Measures where the time of an epoch goes, and how much memory its process takes, without waiting for a GPU."""

from __future__ import annotations

import contextlib
import resource
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import TypeVar

import torch

_Item = TypeVar("_Item")
_BYTES_PER_MB = 1e6


class StepTimer:
    """The seconds of named parts of an epoch.

    On a GPU a part lasts from its first to its last operation there, measured by events. Waiting for batches is
    measured by the clock on any device.

    Args:
        device: of the work.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._events: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []
        self._started = time.perf_counter()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add the block to a part."""
        if self._device.type == "cuda":
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
            start.record()
            yield
            end.record()
            self._events.append((name, start, end))
            return
        started = time.perf_counter()
        yield
        self._seconds[name] += time.perf_counter() - started

    def waiting(self, items: Iterable[_Item], name: str) -> Iterator[_Item]:
        """Yield items, and add the time of waiting for each to a part."""
        started = time.perf_counter()
        for item in items:
            self._seconds[name] += time.perf_counter() - started
            yield item
            started = time.perf_counter()
        self._seconds[name] += time.perf_counter() - started

    def seconds(self, name: str) -> float:
        """Return the seconds of a part so far, 0 for one that did not occur. Waits for the GPU."""
        self._wait()
        return self._seconds[name]

    def elapsed(self) -> float:
        """Return the seconds since the timer was made. Waits for the GPU, which may still work on the last part."""
        self._wait()
        return time.perf_counter() - self._started

    def _wait(self) -> None:
        """Wait for the parts on the GPU, and add their seconds."""
        if self._events:
            torch.cuda.synchronize(self._device)
            for part, start, end in self._events:
                self._seconds[part] += start.elapsed_time(end) / 1000.0
            self._events.clear()

    def peak_memory_mb(self) -> float:
        """Return the peak in megabytes: on a GPU of its memory since the timer was made, else of the whole process."""
        if self._device.type == "cuda":
            return float(torch.cuda.max_memory_allocated(self._device)) / _BYTES_PER_MB
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return float(peak) * (1 if sys.platform == "darwin" else 1024) / _BYTES_PER_MB
