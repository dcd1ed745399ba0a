"""Functions in processes that share a group of gloo, on the CPU."""

from __future__ import annotations

import datetime
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

_Result = TypeVar("_Result")


def run_in_processes(function: Callable[[], _Result], number: int, folder: Path) -> list[_Result]:
    """Run a function of a module in some processes, each with the others in its group.

    Args:
        function: without arguments; its result is saved by torch.
        number: of processes.
        folder: an empty folder for their files.

    Returns:
        The result of each.
    """
    spawn(_run, (function, number, str(folder)), nprocs=number)  # type: ignore[no-untyped-call]
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(number)]


def _run(rank: int, function: Callable[[], _Result], number: int, folder: str) -> None:
    torch.set_num_threads(1)
    if sys.platform == "linux":
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/store",
        rank=rank,
        world_size=number,
        timeout=datetime.timedelta(minutes=2),
    )
    try:
        torch.save(function(), Path(folder) / f"{rank}.pt")
    finally:
        dist.destroy_process_group()
